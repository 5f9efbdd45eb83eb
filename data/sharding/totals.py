"""Combine the facts of stretches, so that the parts of a dataset report the same as one piece."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from data.reading.times import show_step, show_time
from data.samples.notes import Steps
from data.samples.part import Part
from data.samples.statistics import Statistics
from data.samples.stretch import StretchSummary

Int64 = npt.NDArray[np.int64]


def is_cut(parts: Sequence[Part]) -> bool:
    """Return whether the parts belong to a dataset that was cut."""
    return any(part.stretches for part in parts)


def total_rows(parts: Sequence[Part]) -> int:
    """Return the rows of the dataset, counting rows that neighbouring parts share once."""
    cut = {(stretch.series, stretch.length) for part in parts for stretch in part.stretches}
    return sum(length for _, length in cut) + sum(part.rows for part in parts if not part.stretches)


def total_statistics(parts: Sequence[Part], columns: int) -> Statistics:
    """Return the statistics of the train rows: block by block within a series, then series by series, as in one piece."""
    total = Statistics.empty(columns)
    for series in _by_series(parts):
        blocks = [block for stretch in series for block in stretch.blocks]
        if blocks:
            total = total.plus(Statistics.pooled(blocks, columns))
    return total


def longest_gaps(parts: Sequence[Part], columns: Sequence[str]) -> dict[str, int]:
    """Return the longest run of missing rows of each column, across the borders of parts."""
    longest = {name: max(part.longest_gap[name] for part in parts) for name in columns}
    for series in _by_series(parts):
        for name in columns:
            open_run = 0
            for stretch in series:
                head, tail, all_missing = stretch.missing_runs.get(name, (0, 0, False))
                longest[name] = max(longest[name], open_run + head)
                open_run = open_run + head if all_missing else tail
    return longest


def irregular_warning(parts: Sequence[Part], zone: str | None = None) -> str | None:
    """Return the warning about the first series with unequal steps of time, as `irregular_steps` words it."""
    kinds = [part.kind_of_time[1] for part in parts if part.kind_of_time is not None]
    for series in _by_series(parts):
        merged = _merge_steps(series)
        if merged is None:
            continue
        steps, counts, times, usual = merged
        odd = steps != usual
        if odd.any():
            name, first = series[0].series, show_time(int(times[odd].min()), kinds[0], None if kinds[0] == "date" else zone)
            return (
                f"series {name!r}: {counts[odd].sum()} of {counts.sum()} steps of time differ from the usual one, first "
                f"before {first}; rows keep their order; write frequency to insert the absent ones"
            )
    return None


def usual_steps_of(parts: Sequence[Part]) -> Steps:
    """Return the usual steps of time of the series, as `usual_steps` does for whole series."""
    usual: Steps = {}
    kinds = [part.kind_of_time[1] for part in parts if part.kind_of_time is not None]
    for series in _by_series(parts):
        merged = _merge_steps(series)
        if merged is not None:
            step = show_step(merged[3], "number" if kinds[0] == "number" else "date")
            count, name = usual.get(step, (0, series[0].series))
            usual[step] = count + 1, name
    return usual


def _merge_steps(series: Sequence[StretchSummary]) -> tuple[Int64, Int64, Int64, int] | None:
    """Return the distinct steps of a series, their counts, the time after each first occurs, and the median step."""
    steps_of_stretches = [stretch.steps for stretch in series if stretch.steps is not None and len(stretch.steps[0])]
    if series[0].length < 3 or not steps_of_stretches:
        return None
    steps, counts, times = (np.concatenate(columns) for columns in zip(*steps_of_stretches, strict=True))
    order = np.argsort(steps, kind="stable")
    ends = np.cumsum(counts[order])
    middle = [(ends[-1] - 1) // 2, ends[-1] // 2]
    return steps, counts, times, int(np.mean(steps[order][np.searchsorted(ends, middle, side="right")]))


def _by_series(parts: Sequence[Part]) -> list[list[StretchSummary]]:
    stretches = (stretch for part in parts for stretch in part.stretches)
    return [list(group) for _, group in groupby(stretches, key=lambda stretch: stretch.series)]
