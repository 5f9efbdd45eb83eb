"""Tables of forecast errors by step, and of the coverage of intervals."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from workflows.results.evaluation import DatasetErrors
from workflows.results.number_format import empty_table, show
from workflows.store.measures import Row

MOST_STEPS = 6  # columns of a table


def steps_shown(horizon: int) -> list[int]:
    """Return the steps that a table shows, counted from 0: the first, the last, and some evenly between them."""
    count = min(horizon, MOST_STEPS)
    return sorted({round(index * (horizon - 1) / max(count - 1, 1)) for index in range(count)})


def forecast_tables(datasets: Mapping[str, DatasetErrors]) -> list[Table]:
    """Return tables of errors by step, intervals and pinball losses, each with the datasets that have them."""
    tables = [
        _steps(datasets, "scaled_error", "error / naive, by forecast step"),
        _steps(datasets, "mase", "MASE, by forecast step"),
    ]
    return [table for table in (*tables, _intervals(datasets), _pinball(datasets)) if table is not None]


def _steps(datasets: Mapping[str, DatasetErrors], key: str, title: str) -> Table | None:
    steps_of = {name: errors.forecasts.by_step for name, errors in datasets.items()}
    rows: dict[str, Row] = {name: getattr(steps, key) for name, steps in steps_of.items() if steps is not None}
    rows = {name: row for name, row in rows.items() if len(row) > 1 and any(value is not None for value in row)}
    if not rows:
        return None
    steps = steps_shown(max(len(row) for row in rows.values()))
    table = empty_table(["dataset", *(f"step {step + 1}" for step in steps)], title=title)
    for name, row in rows.items():
        table.add_row(Text(name), *(show(row[step], 2) for step in steps))
    return table


def _intervals(datasets: Mapping[str, DatasetErrors]) -> Table | None:
    rows = [(name, each) for name, errors in datasets.items() for each in errors.forecasts.intervals]
    if not rows:
        return None
    table = empty_table(["dataset", "interval", "expected", "coverage", "values"], (0, 1), "prediction intervals")
    for name, each in rows:
        expected = each.upper - each.lower
        words = f"{each.lower:g} to {each.upper:g}"
        table.add_row(Text(name), Text(words), show(expected, 2), show(each.coverage, 3), f"{each.values:,}")
    return table


def _pinball(datasets: Mapping[str, DatasetErrors]) -> Table | None:
    rows = {name: pinball for name, errors in datasets.items() if (pinball := errors.pinball())}
    if not rows:
        return None
    levels = list(next(iter(rows.values())))
    table = empty_table(["dataset", *(f"q{level}" for level in levels)], title="pinball loss by level, scaled units")
    for name, row in rows.items():
        table.add_row(Text(name), *(show(row[level]) for level in levels))
    return table
