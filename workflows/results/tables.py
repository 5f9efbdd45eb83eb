"""Tables of a storage: prepared datasets, runs, and the epochs of a run."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.table import Table
from rich.text import Text

from data.errors import InputError
from data.prepared.encoding import EncodedDataset
from data.reading.settings import SPLITS
from data.samples.counts import show_reasons
from models.metrics import METRICS
from workflows.relay.actions import Action, Train
from workflows.relay.lookup import finished, measured
from workflows.relay.metrics import scaled
from workflows.relay.plan import Plan
from workflows.relay.relay import NotAnsweredError
from workflows.results.evaluation import DatasetErrors, Evaluation
from workflows.results.forecast_tables import forecast_tables
from workflows.results.number_format import empty_table, few_digits, show
from workflows.results.run_progress import RunProgress
from workflows.results.run_result import RunResult
from workflows.results.search_result import SearchResult, TrialMetrics
from workflows.results.stored_runs import Run, Search
from workflows.results.trained import reopen
from workflows.store.kept import Errors
from workflows.store.store import Store


def prepared_tables(datasets: Sequence[EncodedDataset]) -> list[Table]:
    """Return tables of the rows and windows of prepared datasets: read, used, inserted, filled and left out."""
    rows = empty_table(("dataset", "rows read", "used", "inserted", "filled", "series", "fingerprint"), texts=(0, 6))
    windows = empty_table(("dataset", "train", "validation", "test", "left out"), texts=(0, 4), title="windows")
    for dataset in datasets:
        facts, counts = dataset.prepared.manifest, dataset.prepared.manifest.counts
        numbers: list[int | None] = [None] * 4  # of a dataset that an earlier version prepared
        if counts is not None:
            numbers = [counts.rows_read, counts.rows_used, counts.rows_inserted, counts.cells_filled]
        cells = ["-" if number is None else f"{number:,}" for number in numbers]
        rows.add_row(Text(dataset.name), *cells, f"{facts.num_series:,}", facts.fingerprint[:12])
        left_out = "-" if counts is None else show_reasons(counts.windows_left_out)
        windows.add_row(Text(dataset.name), *(f"{facts.samples[split]:,}" for split in SPLITS), left_out)
    return [rows, windows]


def runs_table(runs: Mapping[str, Run]) -> Table:
    """Return a table with one row for each run."""
    columns = ("run", "status", "datasets", "epochs", "mean scaled error", "forgetting", "key")
    table = empty_table(columns, texts=(0, 1, 6))
    for name, run in runs.items():
        errors = (run.mean_scaled_error, run.forgetting) if isinstance(run, RunResult) else (None, None)
        table.add_row(
            Text(name),
            run.status,
            stages_reached(run),
            _epochs_reached(run),
            *(show(error, 3) for error in errors),
            run.key[:12],
        )
    return table


def stages_reached(run: Run) -> str:
    """Return the number of stages that were started, and of how many."""
    started = len(run.stages) if isinstance(run, RunResult) else 0 if run.stage is None else run.stage + 1
    total = len(run.datasets) - (len(run.measured_only) if isinstance(run, RunResult) else 0)
    return str(total) if started == total else f"{started} of {total}"


def _epochs_reached(run: Run) -> str:
    reached = sum(len(stage.keys) for stage in run.stages) if isinstance(run, RunResult) else run.epochs_reached
    requested = run.epochs_requested
    return str(requested) if reached == requested else f"{'-' if reached is None else reached} of {requested}"


def searches_table(searches: Mapping[str, Search]) -> Table:
    """Return a table with one row for each search, including unfinished ones."""
    columns = (
        "search",
        "status",
        "trials",
        "epochs asked for",
        "epochs trained",
        "best mean scaled error",
        "forgetting",
        "key",
    )
    table = empty_table(columns, texts=(0, 1, 7))
    for name, search in searches.items():
        best = search.best_trial if isinstance(search, SearchResult) else None
        metrics = TrialMetrics() if best is None else best.metrics
        if isinstance(search, SearchResult):
            trials, requested = str(len(search.trials)), str(search.epochs_requested)
        else:
            trials, requested = f"{search.trials_ended} of {search.trials_asked}", "-"
        table.add_row(
            Text(name),
            search.status,
            trials,
            requested,
            str(search.epochs_trained),
            show(metrics.mean_scaled_error, 3),
            show(metrics.forgetting, 3),
            (search.key or "-")[:12],
        )
    return table


def log_table(store: Store, run: Run) -> Table:
    """Return a table with one row for each epoch of a run, including unfinished runs."""
    if isinstance(run, RunResult):
        error_is, lines = run.error, _finished_epochs(run)
    else:
        plan = _plan_of(store, run)
        error_is = "error" if plan is None else plan.model.error_name
        lines = _chain_lines(store, run.key, plan)
    columns = (
        "dataset",
        "epoch",
        "rate",
        "train loss",
        f"validation {error_is}",
        "address",
        "when",
        "seconds",
    )
    table = empty_table(columns, texts=(0, 5, 6), title=f"{run.name} ({run.status})")
    for line in lines:
        record = store.record(line.key)
        if record is None:
            table.add_row(
                Text(line.dataset), line.number, "-", "-", show(line.error), line.key[:12], "not in the store", "-"
            )
            continue
        table.add_row(
            Text(line.dataset),
            line.number,
            f"{record.learning_rate:.3g}",
            show(record.train_loss),
            show(line.error),
            line.key[:12],
            f"{datetime.datetime.fromtimestamp(record.when):%Y-%m-%d %H:%M:%S}",
            f"{record.seconds:.2f}",
        )
    return table


@dataclass(frozen=True)
class _Line:
    """An epoch of a run. `number` has an arrow if its stage handed over this epoch instead of its last."""

    key: str
    dataset: str = "-"
    number: str = "-"
    error: float | None = None


def _finished_epochs(run: RunResult) -> list[_Line]:
    return [
        _Line(key, stage.dataset, f"{'→ ' if number == stage.handed_over < len(stage.keys) else ''}{number}", error)
        for stage in run.stages
        for number, (key, error) in enumerate(zip(stage.keys, stage.validation_error, strict=True), 1)
    ]


def _plan_of(store: Store, run: RunProgress) -> Plan | None:
    """Return the plan of an unfinished run; None if something it needs is missing."""
    try:
        return reopen(store, run).plan
    except (InputError, OSError, ValueError, KeyError):
        return None


def _chain_lines(store: Store, key: str, plan: Plan | None) -> list[_Line]:
    """Return the epochs that lead to a state, oldest first, with dataset and error if the plan has them."""
    lines = {} if plan is None else _planned_lines(store, plan)
    chain: list[_Line] = []
    record = store.record(key)
    while record is not None and record.parent is not None:
        chain.append(lines.get(record.key, _Line(record.key)))
        record = store.record(record.parent)
    return chain[::-1]


def _planned_lines(store: Store, plan: Plan) -> dict[str, _Line]:
    """Return the epochs of a plan that are in the store, by key."""
    lines: dict[str, _Line] = {}

    def note(action: Action, _: Any) -> None:
        if isinstance(action, Train):
            epoch = action.epoch
            lines[epoch.key] = _Line(epoch.key, plan.datasets[epoch.dataset].name, str(epoch.number + 1))
            errors = measured(plan, epoch.dataset, "validation", store.evaluations(epoch.key))
            if isinstance(errors, Errors):
                lines[epoch.key] = replace(lines[epoch.key], error=errors.error)

    with contextlib.suppress(NotAnsweredError):
        finished(plan, store, note)
    return lines


def evaluation_tables(evaluation: Evaluation) -> list[Table]:
    """Return the tables of `evaluate`: the errors of each dataset, then of each of its targets in the target's units."""
    targets, datasets = evaluation.targets, evaluation.datasets
    title = f"{evaluation.name}: {evaluation.split} error ({evaluation.error}{', scaled units' if targets else ''})"
    seasonal = any(errors.forecasts.seasonal_naive_error is not None for errors in datasets.values())
    weighted = any(each.weighted_error is not None for each in evaluation.datasets.values())
    extra_columns = ["seasonal naive", "error / seasonal", "MASE"] if seasonal else [] if targets else ["accuracy"]
    extra_columns += ["weighted error"] if weighted else []
    overall = empty_table(["dataset", "samples", "error", "naive", "error / naive", *extra_columns], title=title)
    columns = ["dataset", "target", *(metric.title for metric in METRICS.values()), "naive MAE", "naive RMSE"]
    by_target = empty_table(columns, texts=(0, 1), title="in the targets' own units")
    for name, errors in datasets.items():
        relative = errors.scaled_error
        color = "" if relative is None else "red" if relative > 1 else "green"
        extra_cells = [] if targets else [show(errors.accuracy, 3)]
        if seasonal:
            season = errors.forecasts
            to_season = None if errors.error is None else scaled(errors.error, season.seasonal_naive_error)
            extra_cells = [show(season.seasonal_naive_error), show(to_season, 2), show(season.mean_mase, 2)]
        extra_cells += [show(errors.weighted_error)] if weighted else []
        cells = [f"{errors.samples:,}", show(errors.error), show(errors.naive_error)]
        overall.add_row(Text(name), *cells, Text(show(relative, 2), style=color), *extra_cells)
        for row in _units_rows(errors):
            by_target.add_row(Text(name), *row)
    return [overall, by_target, *forecast_tables(datasets)] if targets else [overall]


def _units_rows(errors: DatasetErrors) -> list[list[Text | str]]:
    """Return the metrics of each target, then MAE and RMSE of the naive forecast."""
    if errors.measured is None:
        return []
    measured = [errors.measured.by_target.get(name) for name in METRICS]
    measured += [errors.naive_mae_units, errors.naive_rmse_units]
    return [
        [Text(target), *(few_digits(None if row is None else row[index], 4) for row in measured)]
        for index, target in enumerate(errors.targets)
    ]
