"""Sort the rows of a series by time, with one row for each time, on the grid of the frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from data.errors import InputError
from data.reading.frequency import LOCAL_UNITS, Frequency
from data.reading.looks import date_like, usual_calendar
from data.reading.read import FILE_AS_SERIES, Rows
from data.reading.settings import DatasetSource
from data.reading.times import AS_NUMBERS, Times
from data.samples.counts import Counts
from data.samples.grid import Grid, OffGridError, Scan, grid_of, grid_times
from data.samples.series import Series, take_rows

MOST_INSERTED = 1000  # times the rows of a series; more is probably a mistyped frequency
Int64 = npt.NDArray[np.int64]


def in_order(series: Series, source: DatasetSource, files: Sequence[Rows]) -> Series:
    """Return the series sorted by time, with one row for each time and all steps; its counts have the changes."""
    series = replace(series, counts=Counts(rows_read=len(series)))
    if series.times is None or not len(series):
        return series
    value = series.times.value
    if np.any(np.diff(value) < 0):
        series = take_rows(series, np.argsort(value, kind="stable"))
    assert series.times is not None
    same = np.flatnonzero(np.diff(series.times.value) == 0)
    if len(same) and source.settings.duplicates == "error":
        raise InputError(_twice_message(series, source, files, int(same[0])))
    if len(same):
        series = _merge(series, np.concatenate([[0], np.cumsum(np.diff(series.times.value) > 0)]), source)
    return series if source.settings.grid is None else _on_grid(series, source)


def _merge(series: Series, group: Int64, source: DatasetSource) -> Series:
    """Return one row for each group of consecutive rows: the first, the last, or their mean."""
    starts = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    ends = np.append(starts[1:], len(group)) - 1
    rule = source.settings.duplicates
    merged = take_rows(series, ends if rule == "last" else starts)
    if rule == "mean":
        seen = ~np.isnan(series.numbers)
        sums = np.add.reduceat(np.where(seen, series.numbers, 0.0).astype(np.float64), starts, axis=0)
        counts = np.add.reduceat(seen.astype(np.int64), starts, axis=0)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(series.numbers.dtype)
        labels = {
            name: np.array(
                [next((x for x in values[a : b + 1] if x is not None), None) for a, b in zip(starts, ends, strict=True)],
                object,
            )
            for name, values in series.labels.items()
        }
        merged = replace(merged, numbers=means, labels=labels)
    return replace(merged, counts=series.counts.plus(Counts(rows_duplicate=len(series) - len(starts))))


def _twice_message(series: Series, source: DatasetSource, files: Sequence[Rows], row: int) -> str:
    """Return the message about a time that appears twice in a series."""
    assert series.times is not None
    hint = 'keep one row of each time, or write duplicates = "first", "last" or "mean"'
    if source.settings.series in (None, FILE_AS_SERIES):
        hint += "; or, where the rows are those of several series, name the column with their names in series"
    if not series.times.zoned and series.times.kind == "date":
        hint += "; or, where a clock was put back in autumn, write time_zone"
    again, first = _locate_twice(files, series.name if files[0].series is not None else None, int(series.times.value[row]))
    return (
        f"{again}, dataset {source.name!r}, series {series.name!r}: the time {series.times.show(row)} is already in "
        f"{first}: {hint}"
    )


def _locate_twice(files: Sequence[Rows], series: str | None, time: int) -> tuple[str, str]:
    """Return the positions of the second and of the first row of a series with this time."""
    rows_with_time = []
    for rows in files:
        if rows.times is None:
            continue
        matches = rows.times.value == time
        if series is not None and rows.series is not None:
            matches &= np.asarray(pc.equal(rows.series, series).fill_null(False))
        rows_with_time += [(rows, int(row)) for row in np.flatnonzero(matches)[:2]]
    (first, before), (second, after) = rows_with_time[:2]
    before_file = first.positions.at(before)
    if first.file == second.file:
        before_file = before_file.removeprefix(f"{first.file}, ")
    return second.positions.at(after), before_file


def _on_grid(series: Series, source: DatasetSource) -> Series:
    """Insert the absent steps as missing rows."""
    assert series.times is not None
    grid = grid_for(lambda: [series.times.value], series.times, source, series.name, series.where)  # type: ignore[union-attr]
    series, step = one_a_step(series, grid, source)
    return with_all_steps(series, step, grid, source)


def grid_for(scan: Scan, like: Times, source: DatasetSource, name: str, where: str) -> Grid:
    """Return the grid of a series; `scan` returns its times, `like` has their kind. Raises InputError if none fits."""
    frequency, written, location = source.settings.grid, source.settings.frequency, f"{where}, dataset {source.name!r}"
    assert frequency is not None
    looks = date_like(like.value) if like.kind == "number" and source.settings.time_unit != AS_NUMBERS else None
    if (frequency.unit != "") != (like.kind == "date"):
        wanted = 'write one like "1h"' if like.kind == "date" else "write one like 1"
        wanted = f'they look like dates: write {looks}, or for plain numbers time_unit = "step" and' if looks else wanted
        example = "" if looks is None else " a number as frequency"
        raise InputError(
            f"{location}: frequency = {written!r} does not fit its times, which are {like.kind}s such as {like.show(0)}: "
            f"{wanted}{example}"
        )
    if looks and "format" in looks:
        raise InputError(
            f"{location}: its times, such as {like.show(0)}, look like dates, which whole numbers do not count evenly: "
            f'write {looks} and a frequency such as "1d", or time_unit = "step" if they are plain numbers'
        )
    try:
        return grid_of(scan, like, frequency)
    except OffGridError as error:
        zone = (
            '; or write time_zone, such as "Europe/Berlin", if days begin at a local midnight'
            if frequency.unit in LOCAL_UNITS and like.zoned and like.zone is None
            else ""
        )
        reason = f" ({error.reason})" if error.reason else ""
        shown = replace(like, value=np.array([error.time])).show(0)
        raise InputError(
            f"{location}, series {name!r}: the time {shown} is not a whole number of steps of {written} "
            f"after {like.show(0)}{reason}: correct it, or leave frequency out, or write the step that the data "
            f"have{_calendar_hint(like.value, frequency)}{zone}"
        ) from None


def one_a_step(series: Series, grid: Grid, source: DatasetSource) -> tuple[Series, Int64]:
    """Return the series with one row for each step that has any, and these steps; raises InputError for duplicates."""
    times = series.times
    assert times is not None
    step = grid.steps(times.value)
    is_moved = grid.is_moved(times.value, step)
    repeated = np.flatnonzero(np.diff(step) == 0)
    if len(repeated):
        if source.settings.duplicates == "error":
            row = int(repeated[0])
            raise InputError(
                f"{series.where}, dataset {source.name!r}, series {series.name!r}: the times {times.show(row)} and "
                f"{times.show(row + 1)} fall into the same step of {source.settings.frequency!r}: write a shorter "
                'frequency, or duplicates = "first", "last" or "mean"'
            )
        series = _merge(series, step, source)
        keep = np.flatnonzero(np.diff(step, prepend=step[0] - 1))
        step, is_moved = step[keep], is_moved[keep]
    return replace(series, counts=series.counts.plus(Counts(rows_moved=int(is_moved.sum())))), step


def with_all_steps(series: Series, step: Int64, grid: Grid, source: DatasetSource) -> Series:
    """Return the series with a row for each step of its grid; inserted rows are missing."""
    times, length = series.times, int(step[-1]) + 1
    assert times is not None
    check_length(series.name, len(series), length, series.where, source)
    counts = series.counts.plus(Counts(rows_inserted=length - len(series)))
    every = replace(times, value=grid_times(grid, times.value, step, length))
    if length == len(series):
        return replace(series, times=every, counts=counts)
    numbers = np.full((length, series.numbers.shape[1]), np.nan, series.numbers.dtype)
    numbers[step] = series.numbers
    labels = {}
    for name, values in series.labels.items():
        labels[name] = np.full(length, None, dtype=object)
        labels[name][step] = values
    inserted = np.ones(length, bool)
    inserted[step] = False
    return replace(series, numbers=numbers, labels=labels, times=every, inserted=inserted, counts=counts)


def check_length(name: str, rows: int, length: int, where: str, source: DatasetSource) -> None:
    """Raise InputError if most rows of a series would be inserted."""
    if length > MOST_INSERTED * rows:
        raise InputError(
            f"{where}, dataset {source.name!r}, series {name!r}: on a grid of {source.settings.frequency} its {rows} rows "
            f"would become {length}: check frequency and the times"
        )


def _calendar_hint(value: Int64, frequency: Frequency) -> str:
    """Return a hint with the calendar step that fits the times, if the written frequency does not."""
    looks = usual_calendar(value) if frequency.unit in ("d", "w") else None
    return f' (they look like "{looks}")' if looks else ""
