"""Index each series over all runs: its length, its splits, and whether it may be cut into stretches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.reading.frequency import LOCAL_UNITS
from data.reading.looks import date_like
from data.reading.settings import DatasetSource, DataSettings, SplitDates
from data.reading.times import AS_NUMBERS, parse_time
from data.samples.counts import Counts
from data.samples.grid import Grid
from data.samples.ordering import MOST_INSERTED
from data.samples.splits import Bounds, fraction_bounds, split_by_series, whole_series
from data.sharding.runs import Run, SeriesRun, split_dates


@dataclass(frozen=True)
class Tidying:
    """The grid that the rows of a series were moved to, and the counts of that; their runs have one row a step."""

    grid: Grid | None
    counts: Counts


@dataclass(frozen=True)
class SeriesIndex:
    """One series: its rows in each run (by the number of the run), their total and its splits.

    `count` rows were read. `origin` is the time of its first row, `step` the step of its grid, if it has one. `length` and
    `bounds` are known of a series that may be cut; any other is sorted as a whole, by the rules of `series_of`. A series is
    `untidy` if rows may be off the grid or have equal times: if it is long, its runs are written again (see
    data.sharding.tidy), and `tidied` has the grid and the counts of that.
    """

    name: str
    runs: tuple[tuple[int, SeriesRun], ...]
    count: int
    length: int
    bounds: Bounds | None
    origin: int | None = None
    step: int | None = None
    split: str | None = None  # where whole series are assigned to splits
    untidy: bool = False
    tidied: Tidying | None = None


def index_series(runs: Sequence[Run], source: DatasetSource, whole: str | None = None) -> list[SeriesIndex]:
    """Return the series of some runs, by name; `whole` is the split that all of them belong to, uncut."""
    runs_of_series: dict[str, list[tuple[int, SeriesRun]]] = {}
    for number, run in enumerate(runs):
        for name, rows in run.series.items():
            runs_of_series.setdefault(name, []).append((number, rows))
    deal: dict[str, str] = {}
    if whole is not None:
        deal = dict.fromkeys(runs_of_series, whole)
    elif source.settings.split_by == "series":
        assert isinstance(source.settings.split, list)
        deal = split_by_series(list(runs_of_series), source.settings.split)
    return [_index(name, runs_of_series[name], runs, source, deal.get(name)) for name in sorted(runs_of_series)]


def index_tidied(index: SeriesIndex, runs: dict[int, Run], tidied: Tidying, source: DatasetSource) -> SeriesIndex:
    """Return the index of an untidy series from the runs that were written again for it."""
    rows = [(number, run.series[index.name]) for number, run in runs.items()]
    return _index(index.name, rows, runs, source, index.split, tidied)


def _index(
    name: str,
    rows: list[tuple[int, SeriesRun]],
    runs: Sequence[Run] | Mapping[int, Run],
    source: DatasetSource,
    split: str | None,
    tidied: Tidying | None = None,
) -> SeriesIndex:
    settings = source.settings
    count = sum(each.stop - each.start for _, each in rows)
    length, origin, step = count, None, None
    timed = [each for _, each in rows if len(each.marks)]
    uncut, untidy = settings.lookback == "all", False
    if timed:
        origin = min(int(each.marks[0]) for each in timed)
        last = max(int(each.marks[-1]) for each in timed)
        heads = [runs[number].head for number, _ in rows]
        kinds = {head.times.kind for head in heads if head.times is not None}
        wrong = len(kinds) > 1 or (kinds == {"number"} and _looks_like_dates(timed, settings))
        untidy = settings.duplicates != "error"
        if settings.grid is not None:
            wrong = wrong or (settings.grid.unit != "") != (kinds == {"date"})
            step = settings.grid.step
            exact = step is not None and all(each.residue == timed[0].residue is not None for each in timed)
            local = settings.time_zone is not None and settings.grid.unit in LOCAL_UNITS
            untidy = untidy or not exact or local
            uncut = uncut or not exact or local
            length = (last - origin) // step + 1 if step and exact else count
            wrong = wrong or length > MOST_INSERTED * count
        if isinstance(settings.split, SplitDates):
            wrong = wrong or kinds != {"date"}
        untidy = untidy and not wrong and tidied is None and settings.lookback != "all"
        uncut = uncut or wrong or untidy
    if split is not None:
        bounds: Bounds = whole_series(split, length)
    elif isinstance(settings.split, SplitDates):
        bounds = _date_bounds(rows, source, length, origin, step)
    else:
        bounds = fraction_bounds(settings.split, length)
    known = None if uncut else bounds
    return SeriesIndex(name, tuple(rows), count, length, known, origin, step, split, untidy, tidied)


def _looks_like_dates(timed: Sequence[SeriesRun], settings: DataSettings) -> bool:
    """Return whether some of the whole numbers look like dates such as 20240131, so that the whole series is checked.

    The first and the last of them already show whether they look like Unix time.
    """
    marks = np.concatenate([each.marks for each in timed])
    looks = date_like(np.resize(marks, max(len(marks), 3)))
    return settings.time_unit != AS_NUMBERS and looks is not None and "format" in looks


def _date_bounds(
    rows: list[tuple[int, SeriesRun]], source: DatasetSource, length: int, origin: int | None, step: int | None
) -> Bounds:
    """Return the rows where the dates of the split are: on the grid, or by the rows before them in each run."""
    split = source.settings.split
    assert isinstance(split, SplitDates)
    dates = split_dates(source)

    def row_of(date: str | None) -> int:
        if date is None:
            return length
        moment = parse_time(date, source.settings.time_zone)
        if step and origin is not None:
            return min(max(-((origin - moment) // step), 0), length)
        return sum(each.earlier[dates.index(moment)] for _, each in rows)

    end = row_of(split.end)
    return 0, min(row_of(split.validation), end), min(row_of(split.test), end), end
