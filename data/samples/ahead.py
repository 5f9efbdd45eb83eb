"""Compute the times of the steps after a series, for a forecast from its last rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.reading.frequency import LOCAL_UNITS, Frequency
from data.reading.times import Times
from data.samples.grid import grid_of

Int64 = npt.NDArray[np.int64]
UNKNOWN = np.iinfo(np.int64).min  # an unknown time


def times_after(times: Times, frequency: Frequency | None, count: int) -> Int64:
    """Return the times of the `count` steps after the last row of a series, UNKNOWN if its step is unknown.

    With a frequency the grid of the series continues: months keep the day of the first row or the end of the month,
    business days leave out weekends, days follow the local clock. Without one the step is that of the rows, if all are
    equal.
    """
    if not count or not len(times.value):
        return np.full(count, UNKNOWN)
    if frequency is None:
        steps = np.diff(times.value)
        known = len(steps) > 0 and bool((steps == steps[0]).all())
        return _evenly(times, int(steps[0]), count) if known else np.full(count, UNKNOWN)
    local = times.zoned and times.zone is not None and frequency.unit in LOCAL_UNITS
    if frequency.step is not None and not local:
        return _evenly(times, frequency.step, count)
    grid = grid_of(lambda: [times.value], times, frequency)
    return grid.times(grid.steps(times.value[-1:]) + np.arange(1, count + 1))


def _evenly(times: Times, step: int, count: int) -> Int64:
    return np.asarray(times.value[-1] + step * np.arange(1, count + 1), np.int64)
