"""A long series with rows off its grid or several rows of one time becomes runs with one row for each step that has any.

Such a series cannot be cut by the times of its rows alone. Its grid is determined from its times, a bounded number at a
time; then it is cut between steps, and each stretch is sorted by itself and written as a run. These runs follow each other
in time and have at most one row a step, so that they are cut like those of any series.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.errors import InputError
from data.reading.read import Rows
from data.reading.settings import DatasetSource
from data.samples.counts import Counts
from data.samples.grid import Grid
from data.samples.ordering import grid_for, one_a_step
from data.samples.tell_apart import series_of
from data.sharding.index import SeriesIndex
from data.sharding.loading import Open, rows_between
from data.sharding.marks import rows_before_each
from data.sharding.runs import MARK_ROWS, Run, RunPositions, rows_at, series_column, write_run

Int64 = npt.NDArray[np.int64]
EVER = 2**62  # later than any time, and as a negative number earlier
MOST_STRETCHES = 4  # a stretch may have so many times its planned rows if they fall into one step


@dataclass(frozen=True)
class TidyRun:
    """A run of a series, sorted, and the counts of moved, merged and inserted rows."""

    run: Run
    counts: Counts


def find_grid(index: SeriesIndex, source: DatasetSource, read: Open) -> Grid:
    """Return the grid of a series; raises InputError if its times fit none."""

    def scan() -> Iterator[Int64]:
        for number, run in index.runs:
            yield from read(number).times(run.start, run.stop)

    earliest = min((run.marks[0], number) for number, run in index.runs)
    head = read(earliest[1]).run.head
    assert head.times is not None
    marks = np.unique(np.concatenate([run.marks for _, run in index.runs]))
    return grid_for(scan, replace(head.times, value=marks), source, index.name, head.file)


def cut_times(index: SeriesIndex, most_rows: int) -> list[int]:
    """Return times that cut a series into stretches of about so many rows, by the marks of its runs."""
    marks = np.unique(np.concatenate([run.marks for _, run in index.runs]))
    earlier = sum(np.sum(rows_before_each(run, marks), axis=0) for _, run in index.runs)
    rows = np.asarray(earlier) // 2  # the middle of the bounds
    return [
        int(marks[index_of_mark])
        for index_of_mark in np.unique(np.searchsorted(rows, np.arange(most_rows, index.count, most_rows)))
        if index_of_mark < len(marks)
    ]


def tidy(
    index: SeriesIndex,
    grid: Grid | None,
    between_times: tuple[int | None, int | None],
    source: DatasetSource,
    read: Open,
    path: str,
    most_rows: int,
) -> TidyRun | None:
    """Sort the rows between two times, whole steps of the grid, and write them as a run; None if there are none.

    Raises InputError if one step has more rows than fit into the memory of a task.
    """
    low, high = between_times
    margin = 0 if grid is None else grid.longest_step
    rows = rows_between(index, -EVER if low is None else low - margin, EVER if high is None else high + margin, read)
    count = sum(len(each.numbers) for each in rows)
    if count > MOST_STRETCHES * (most_rows + MARK_ROWS * len(index.runs)):
        raise InputError(
            f"{rows[0].file}, dataset {source.name!r}, series {index.name!r}: {count} rows have the same or neighbouring "
            f"steps of time, too many to be merged at once: write a shorter frequency, or merge them before"
        )
    if grid is not None:
        first = None if low is None else int(grid.steps(np.array([low]))[0])
        stop = None if high is None else int(grid.steps(np.array([high]))[0])
        rows = [_of_steps(each, grid, first, stop) for each in rows]
    rows = [each for each in rows if len(each.numbers)]
    if not rows:
        return None
    (series,) = series_of(rows, replace(source, settings=source.settings.model_copy(update={"frequency": None})))
    if grid is not None:
        series, step = one_a_step(series, grid, source)
        if grid.regular:
            assert series.times is not None
            series = replace(series, times=replace(series.times, value=grid.times(step)))
    head = read(index.runs[0][0]).run
    positions = RunPositions(head.piece, head.table, np.arange(len(series)), source)
    tidied = replace(
        rows[0],
        numbers=series.numbers,
        labels={name: values.tolist() for name, values in series.labels.items()},
        series=None if rows[0].series is None else series_column(index.name, len(series)),
        times=series.times,
        positions=positions,  # type: ignore[arg-type]
    )
    return TidyRun(write_run(tidied, source, head.piece, head.table, path), series.counts)


def _of_steps(rows: Rows, grid: Grid, first: int | None, stop: int | None) -> Rows:
    """Return the rows with a step of at least `first` and below `stop`."""
    assert rows.times is not None
    steps = grid.steps(rows.times.value)
    wanted = np.ones(len(steps), bool) if first is None else steps >= first
    return rows_at(rows, np.flatnonzero(wanted if stop is None else wanted & (steps < stop)))
