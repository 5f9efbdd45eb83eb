"""The report section on forecast measures: seasonal naive, MASE, errors by step, intervals, weighted errors."""

from __future__ import annotations

from collections.abc import Mapping

from workflows.report.page import Cell, Marked, Paragraph, Part, Section, Table
from workflows.results.forecast_tables import steps_shown
from workflows.results.run_result import SplitErrors
from workflows.store.measures import ForecastMeasures, Row


def measures_section(test: Mapping[str, SplitErrors]) -> Section | None:
    """Return the section on the test forecasts of a run; None if no dataset has such measures."""
    by_dataset = {name: errors.forecasts for name, errors in test.items() if errors.forecasts is not None}
    parts: list[Part] = []
    if any(each.season for each in by_dataset.values()):
        parts.append(
            Paragraph(
                "The seasonal naive forecast repeats the value one season before. MASE divides the absolute error by the "
                "mean absolute difference of train rows one season apart; below 1 beats that difference."
            )
        )
        parts.append(_seasonal(test, by_dataset))
    parts += [_by_step(by_dataset, key, caption) for key, caption in STEPS.items() if _rows_by_step(by_dataset, key)]
    if any(each.intervals for each in by_dataset.values()):
        parts.append(_intervals(by_dataset))
    if any(errors.weighted_error is not None for errors in test.values()):
        parts.append(_weighted(test))
    return Section("Forecast measures", parts) if parts else None


STEPS = {"scaled_error": "Test error / naive, by forecast step", "mase": "MASE on test, by forecast step"}


def _seasonal(test: Mapping[str, SplitErrors], by_dataset: Mapping[str, ForecastMeasures]) -> Table:
    rows: list[list[Cell]] = []
    for name, each in by_dataset.items():
        error, seasonal = test[name].error, each.seasonal_naive_error
        mases = [value for value in each.mase or () if value is not None]
        row: list[Cell] = [
            name,
            each.season,
            _number(seasonal, 4),
            _marked(error / seasonal if error is not None and seasonal else None),
        ]
        rows.append([*row, _marked(sum(mases) / len(mases) if mases else None)])
    return Table(
        ["dataset", "season, rows", "seasonal naive", "test / seasonal naive", "MASE"], rows, "Relative to the season"
    )


def _weighted(test: Mapping[str, SplitErrors]) -> Table:
    rows: list[list[Cell]] = [
        [name, _number(errors.error, 4), _number(errors.weighted_error, 4)] for name, errors in test.items()
    ]
    return Table(["dataset", "test error", "weighted test error"], rows, "Weighted errors")


def _rows_by_step(by_dataset: Mapping[str, ForecastMeasures], key: str) -> dict[str, Row]:
    rows = {}
    for name, each in by_dataset.items():
        steps = each.by_step
        if steps is None or len(steps.error) < 2:
            continue
        row: Row = getattr(steps, key)
        if any(value is not None for value in row):
            rows[name] = row
    return rows


def _by_step(by_dataset: Mapping[str, ForecastMeasures], key: str, caption: str) -> Table:
    rows = _rows_by_step(by_dataset, key)
    shown = steps_shown(max(map(len, rows.values())))
    cells: list[list[Cell]] = [[name, *(_marked(row[step]) for step in shown)] for name, row in rows.items()]
    return Table(["dataset", *(f"step {step + 1}" for step in shown)], cells, caption)


def _intervals(by_dataset: Mapping[str, ForecastMeasures]) -> Table:
    rows: list[list[Cell]] = [
        [name, f"{each.lower:g} to {each.upper:g}", _number(each.upper - each.lower, 2),
         _number(each.coverage, 3), f"{each.values:,}"]
        for name, measures in by_dataset.items()
        for each in measures.intervals
    ]  # fmt: skip
    head = ["dataset", "interval", "expected", "coverage", "values"]
    return Table(head, rows, "Share of test values inside each prediction interval")


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _marked(value: float | None) -> Cell:
    return None if value is None else Marked(f"{value:.2f}", value < 1)
