"""What stands in for missing values, never taken from the future across a split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def fill_gaps(values: Float32, bounds: Sequence[int], method: str) -> Float32:
    """Values (rows, columns) of one series with its gaps filled, as a copy where anything was missing.

    `bounds` are the rows where the splits begin and end: (0, validation, test, rows). "interpolate" is linear between
    the neighbours inside a split and holds the nearest value at its edges, the last row of the split before counting as
    a neighbour. "forward" repeats the last value. What is left NaN (all of it for "mean", "zero" and "drop", and what
    has nothing to start from) waits for the statistics of the dataset: see `Encoding.fill`.
    """
    missing = np.isnan(values)
    if method not in ("interpolate", "forward") or not missing.any():
        return values
    filled = values.copy()
    for column in np.flatnonzero(missing.any(axis=0)):
        fill = _interpolate if method == "interpolate" else _forward
        fill(filled[:, column], bounds)
    return filled


def _interpolate(column: Float32, bounds: Sequence[int]) -> None:
    for start, stop in pairwise(bounds):
        first = max(start - 1, 0)  # the (filled) row before the split is a neighbour, and is not filled from here itself
        known = first + np.flatnonzero(~np.isnan(column[first:stop]))
        holes = start + np.flatnonzero(np.isnan(column[start:stop]))
        if len(known) and len(holes):
            column[holes] = np.interp(holes, known, column[known])


def _forward(column: Float32, bounds: Sequence[int]) -> None:  # noqa: ARG001 the past is never across a split
    column[:] = last_observed(column)


def longest_run(missing: npt.NDArray[np.bool_]) -> int:
    """The most rows that are missing one after the other, of (rows,) marks."""
    if not missing.any():
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max())


def last_observed(column: Float32) -> Float32:
    """The last value that is not missing, at or before each row; NaN where there is none yet."""
    missing = np.isnan(column)
    if not missing.any():
        return column
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(column))))
    return np.where(last >= 0, column[np.maximum(last, 0)], np.float32(np.nan))
