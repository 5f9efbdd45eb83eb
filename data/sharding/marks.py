"""Bound how many rows of a run are earlier than a time, from its marks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from data.sharding.runs import SeriesRun

Int64 = npt.NDArray[np.int64]


def rows_before_each(run: SeriesRun, times: Int64) -> tuple[Int64, Int64]:
    """Return at least and at most how many rows of a run are earlier than each time, by its marks."""
    indices, rows = np.searchsorted(run.marks, times), run.mark_rows()
    ends = np.append(rows, run.stop - run.start)
    return np.where(indices > 0, rows[indices - 1] + 1, 0), ends[indices]


def rows_before(run: SeriesRun, time: int) -> tuple[int, int]:
    """Return at least and at most how many rows of a run have an earlier time, by its marks."""
    index, rows = int(np.searchsorted(run.marks, time)), run.mark_rows()
    at_least = int(rows[index - 1]) + 1 if index else 0
    return at_least, int(rows[index]) if index < len(rows) else run.stop - run.start


def last_mark(marks: Int64, holds: Callable[[int], bool]) -> int:
    """Return the index of the last mark that `holds` accepts (it accepts all before it); -1 if none."""
    low, high = -1, len(marks) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if holds(int(marks[middle])):
            low = middle
        else:
            high = middle - 1
    return low
