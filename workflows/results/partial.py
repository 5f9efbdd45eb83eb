"""The partial result of a run that has not ended, computed from the store."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from workflows.relay.actions import Action, Evaluate, Train
from workflows.relay.lookup import finished, measured
from workflows.relay.metrics import backward_transfer, forgetting, forward_transfer, mean_of, naive_error
from workflows.relay.plan import Plan, Stage
from workflows.relay.relay import NotAnsweredError, figure, row_of
from workflows.results.result import matrix_of
from workflows.results.run_progress import RunProgress
from workflows.results.run_result import NOT_MEASURED, ErrorMatrix, RunResult, SplitErrors, StageResult
from workflows.results.trained import TrainedRun
from workflows.store.kept import EpochRecord, Errors
from workflows.store.store import Store


def partial_result(progress: RunProgress, plan: Plan, store: Store, naive: list[float | None]) -> RunResult:
    """Return the result so far of a run that has not ended."""
    names = tuple(dataset.name for dataset in plan.datasets)
    stages: list[StageResult] = []
    rows: list[list[Errors | None]] = []

    def note(action: Action, answer: Any) -> None:
        if isinstance(action, Train):
            if action.epoch.number == 0:
                stage = plan.stages[action.epoch.stage]
                stages[action.epoch.stage :] = [_started_stage(stage, names[stage.dataset])]
            stages[-1] = _with_epoch(stages[-1], answer)
        elif isinstance(action, Evaluate) and action.split == "validation":
            row = row_of(plan, action.datasets, answer)
            current = stages[-1] if stages else None
            if current and action.key == current.keys[-1] and len(current.validation_error) < len(current.keys):
                errors = row[action.datasets[0]]
                stages[-1] = replace(
                    current,
                    validation_error=(*current.validation_error, figure(errors, "error")),
                    validation_loss=(*current.validation_loss, figure(errors, "loss")),
                )
            else:
                rows[action.stage :] = [row]

    with contextlib.suppress(NotAnsweredError):
        finished(plan, store, note)
    matrix = matrix_of(names, [stage.dataset for stage in stages], rows, naive)
    trained = [row[: len(rows) - 1] for row in matrix.scaled] if len(rows) > 1 else []
    return RunResult(
        name=progress.name,
        status=progress.status,
        key=progress.key,
        datasets=names,
        stages=tuple(stages),
        error=plan.model.error_name,
        retention=plan.retention.method,
        guard=(),
        error_matrix=matrix,
        test={},
        mean_scaled_error=mean_of(trained[-1]) if trained else None,
        forgetting=forgetting(trained) if trained else None,
        backward_transfer=backward_transfer(trained) if trained else None,
        forward_transfer=forward_transfer(trained) if trained else None,
        epochs_requested=progress.epochs_requested,
        prepared=progress.prepared,
        when=progress.when,
        started=progress.started,
        message=progress.message,
        measured_only=names[len(plan.stages) :],
    )


def unopened_result(progress: RunProgress) -> RunResult:
    """Return the result so far of a run that has not ended, if its plan cannot be rebuilt."""
    return RunResult(
        name=progress.name,
        status=progress.status,
        key=progress.key,
        datasets=progress.datasets,
        stages=(),
        error="error",
        retention="unknown",
        guard=(),
        error_matrix=ErrorMatrix((), progress.datasets, (), ()),
        test={},
        mean_scaled_error=None,
        forgetting=None,
        backward_transfer=None,
        forward_transfer=None,
        epochs_requested=progress.epochs_requested,
        prepared=progress.prepared,
        when=progress.when,
        started=progress.started,
        message=progress.message,
    )


def kept_tests(run: TrainedRun, store: Store) -> dict[str, SplitErrors]:
    """Return the stored test errors of a run's final state; NOT_MEASURED where the store has none."""
    stored, loss = store.evaluations(run.key), run.plan.model.loss
    test = dict.fromkeys((dataset.name for dataset in run.datasets), NOT_MEASURED)
    for number, dataset in enumerate(run.datasets):
        errors = measured(run.plan, number, "test", stored)
        if isinstance(errors, Errors):
            test[dataset.name] = SplitErrors(errors, naive_error(dataset, "test", loss))
    return test


def _started_stage(stage: Stage, dataset: str) -> StageResult:
    return StageResult(
        dataset=dataset,
        learning_rate=stage.learning_rate,
        learning_rates_used=(),
        epochs=stage.epochs,
        epochs_planned=stage.epochs,
        handed_over=stage.epochs,
        keys=(),
        train_loss=(),
        validation_error=(),
    )


def _with_epoch(stage: StageResult, record: EpochRecord) -> StageResult:
    return replace(
        stage,
        learning_rates_used=(*stage.learning_rates_used, record.learning_rate),
        keys=(*stage.keys, record.key),
        key=record.key,
        train_loss=(*stage.train_loss, record.train_loss),
    )
