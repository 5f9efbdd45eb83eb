"""Compute a run's result from the store: one function, for finished, running and rolled-back runs."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version

from data.prepared.encoding import EncodedDataset
from workflows.relay.guard import report_of
from workflows.relay.metrics import backward_transfer, forgetting, forward_transfer, mean_of, naive_error, scaled
from workflows.relay.plan import Plan
from workflows.relay.relay import Outcome
from workflows.results.run_result import NOT_MEASURED, ErrorMatrix, RunResult, SplitErrors, StageResult
from workflows.results.search_result import TrialMetrics
from workflows.store.kept import Errors


def result_of(name: str, plan: Plan, datasets: Sequence[EncodedDataset], outcome: Outcome) -> RunResult:
    """Return the result of an outcome: only values that the store decides, none about how this call computed them."""
    loss = plan.model.loss
    names = tuple(dataset.name for dataset in datasets)
    naive = [naive_error(dataset, "validation", loss) for dataset in datasets]
    matrix = matrix_of(names, [names[stage.dataset] for stage in outcome.stages], outcome.validation, naive)
    trained = [row[: len(outcome.stages)] for row in matrix.scaled]  # all columns, unless the guard stopped the run
    epochs = [record for stage in outcome.stages for record in stage.epochs]
    seconds = sum(record.seconds for record in epochs)
    return RunResult(
        name=name,
        status="stopped" if outcome.stopped else "finished",
        key=outcome.key,
        datasets=names,
        stages=tuple(
            StageResult(
                dataset=names[stage.dataset],
                learning_rate=stage.learning_rate,
                learning_rates_used=tuple(record.learning_rate for record in stage.epochs),
                epochs=len(stage.epochs),
                epochs_planned=planned.epochs,
                handed_over=stage.handed_over + 1,
                keys=tuple(record.key for record in stage.epochs),
                key=stage.key,
                train_loss=tuple(record.train_loss for record in stage.epochs),
                validation_error=tuple(stage.errors),
                validation_loss=tuple(stage.losses),
                attempts=stage.attempts,
            )
            for stage, planned in zip(outcome.stages, plan.stages, strict=False)
        ),
        error=plan.model.error_name,
        retention=plan.retention.method,
        guard=tuple(report_of(verdict, plan) for verdict in outcome.verdicts),
        error_matrix=matrix,
        test={
            dataset.name: NOT_MEASURED if measured is None else SplitErrors(measured, naive_error(dataset, "test", loss))
            for dataset, measured in zip(datasets, outcome.test, strict=True)
        },
        mean_scaled_error=mean_of(trained[-1]),
        forgetting=forgetting(trained),
        backward_transfer=backward_transfer(trained),
        forward_transfer=forward_transfer(trained),
        epochs_requested=sum(stage.epochs for stage in plan.stages),
        measured_only=names[len(plan.stages) :],
        samples_per_second=sum(record.samples for record in epochs) / seconds if seconds else None,
    )


def metrics_after(plan: Plan, outcome: Outcome) -> TrialMetrics:
    """Return mean scaled error and forgetting over the datasets trained so far."""
    names, naive = [each.name for each in plan.datasets], [each.naive_error for each in plan.datasets]
    matrix = matrix_of(names, [names[stage.dataset] for stage in outcome.stages], outcome.validation, naive)
    trained = [row[: len(outcome.stages)] for row in matrix.scaled]
    return TrialMetrics(mean_of(trained[-1]), forgetting(trained))


def matrix_of(
    names: Sequence[str], trained: Sequence[str], rows: Sequence[Sequence[Errors | None]], naive: Sequence[float | None]
) -> ErrorMatrix:
    """Return the error matrix of the evaluations before and after each stage; `naive` are errors of the naive forecast."""
    validation = [tuple(None if each is None else each.error for each in row) for row in rows]
    relative = [tuple(scaled(error, base) for error, base in zip(row, naive, strict=True)) for row in validation]
    return ErrorMatrix(("untrained", *trained)[: len(rows)], tuple(names), tuple(validation), tuple(relative))


def versions() -> dict[str, str]:
    """Return the versions that the numbers were computed with."""
    packages = ("lstm-relay", "ray", "torch", "numpy", "pyarrow")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:  # run from a folder that was shipped, not installed
        return "unknown"
