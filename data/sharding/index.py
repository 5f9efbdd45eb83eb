"""What all runs hold of each series: how long it is, where its splits begin, and whether it may be cut into stretches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.reading.frequency import LOCAL_UNITS
from data.reading.looks import date_like
from data.reading.settings import DatasetSource, DataSettings, SplitDates
from data.reading.times import AS_NUMBERS, parse_time
from data.samples.splits import Bounds, fraction_bounds, split_by_series, whole_series
from data.sharding.runs import Run, SeriesRun, split_dates

MOST_INSERTED = 1000  # times as many rows as there are; beyond that the frequency was mistyped, as `series_of` says


@dataclass(frozen=True)
class SeriesIndex:
    """One series: its rows in each run (by the number of the run), and what they come to.

    `count` rows were read. `origin` and `step` are the time of its first row and its grid, where it has one. `length` and
    `bounds` are known of a series that may be cut; any other is put in order as a whole, by the rules of `series_of`.
    """

    name: str
    runs: tuple[tuple[int, SeriesRun], ...]
    count: int
    length: int
    bounds: Bounds | None
    origin: int | None = None
    step: int | None = None
    split: str | None = None  # where whole series are dealt out


def index_series(runs: Sequence[Run], source: DatasetSource, whole: str | None = None) -> list[SeriesIndex]:
    """The series of some runs, by name; `whole` is the split that all of them go into, uncut."""
    found: dict[str, list[tuple[int, SeriesRun]]] = {}
    for number, run in enumerate(runs):
        for name, rows in run.series.items():
            found.setdefault(name, []).append((number, rows))
    deal: dict[str, str] = {}
    if whole is not None:
        deal = dict.fromkeys(found, whole)
    elif source.settings.split_by == "series":
        assert isinstance(source.settings.split, list)
        deal = split_by_series(list(found), source.settings.split)
    return [_index(name, found[name], runs, source, deal.get(name)) for name in sorted(found)]


def _index(
    name: str, rows: list[tuple[int, SeriesRun]], runs: Sequence[Run], source: DatasetSource, split: str | None
) -> SeriesIndex:
    settings = source.settings
    count = sum(each.stop - each.start for _, each in rows)
    length, origin, step = count, None, None
    timed = [each for _, each in rows if len(each.marks)]
    uncut = settings.lookback == "all"
    if timed:
        origin = min(int(each.marks[0]) for each in timed)
        last = max(int(each.marks[-1]) for each in timed)
        heads = [runs[number].head for number, _ in rows]
        kinds = {head.times.kind for head in heads if head.times is not None}
        uncut = uncut or len(kinds) > 1
        uncut = uncut or settings.duplicates != "error" or (kinds == {"number"} and _may_be_dates(timed, settings))
        if settings.grid is not None:
            step = settings.grid.step
            exact = step is not None and all(each.residue == timed[0].residue is not None for each in timed)
            local = settings.time_zone is not None and settings.grid.unit in LOCAL_UNITS
            uncut = uncut or not exact or local or (settings.grid.unit != "") != (kinds == {"date"})
            length = (last - origin) // step + 1 if step and exact else count
            uncut = uncut or length > MOST_INSERTED * count
        if isinstance(settings.split, SplitDates):
            uncut = uncut or kinds != {"date"}
    if split is not None:
        bounds: Bounds = whole_series(split, length)
    elif isinstance(settings.split, SplitDates):
        bounds = _date_bounds(rows, source, length, origin, step)
    else:
        bounds = fraction_bounds(settings.split, length)
    return SeriesIndex(name, tuple(rows), count, length, None if uncut else bounds, origin, step, split)


def _may_be_dates(timed: Sequence[SeriesRun], settings: DataSettings) -> bool:
    """Whether whole numbers look like dates by some of them: then the series as a whole is looked at."""
    marks = np.concatenate([each.marks for each in timed])
    return settings.time_unit != AS_NUMBERS and date_like(np.resize(marks, max(len(marks), 3))) is not None


def _date_bounds(
    rows: list[tuple[int, SeriesRun]], source: DatasetSource, length: int, origin: int | None, step: int | None
) -> Bounds:
    """The rows where the dates of the split are: on the grid, or by the rows before them in each run."""
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
