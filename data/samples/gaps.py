"""Fill missing values, never from the future across a split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from data.samples.stretch import Stretch

Float32 = npt.NDArray[np.float32]


def fill_gaps(values: Float32, bounds: Sequence[int], method: str, stretch: Stretch | None = None) -> Float32:
    """Return values (rows, columns) of one series with filled gaps; a copy if anything was missing.

    `bounds` are the first rows of the splits and the end: (0, validation, test, rows). "interpolate" is linear between the
    neighbours inside a split and repeats the nearest value at its edges; the last row of the previous split counts as a
    neighbour. "forward" repeats the last value. Remaining NaN (all for "mean", "zero" and "drop", and gaps without an
    earlier value) is filled from the statistics of the dataset: see `Encoding.fill`. With a `stretch`, the values are its
    loaded rows, the bounds are counted from the first of these, and its edges are neighbours, too.
    """
    missing = np.isnan(values)
    if method not in ("interpolate", "forward") or not missing.any():
        return values
    filled = values.copy()
    for column in np.flatnonzero(missing.any(axis=0)):
        before, after = _neighbours(stretch, int(column))
        if method == "interpolate":
            _interpolate(filled[:, column], bounds, before, after)
        else:
            filled[:, column] = last_observed(filled[:, column], np.nan if before is None else before[1])
    return filled


Neighbour = tuple[int, float] | None  # the row, counted from the first loaded one, and the value


def _neighbours(stretch: Stretch | None, column: int) -> tuple[Neighbour, Neighbour]:
    neighbours: list[Neighbour] = [None, None]
    if stretch is not None:
        for side, edge in enumerate((stretch.before, stretch.after)):
            if edge is not None and not np.isnan(edge.values[column]):
                neighbours[side] = int(edge.rows[column]) - stretch.start, float(edge.values[column])
    return neighbours[0], neighbours[1]


def _interpolate(column: Float32, bounds: Sequence[int], before: Neighbour, after: Neighbour) -> None:
    for start, stop in pairwise(bounds):
        begin, end = max(start, 0), min(stop, len(column))
        if begin >= end:
            continue
        first = max(begin - 1, 0)  # the (filled) row before the split is a neighbour, and is not changed
        known = first + np.flatnonzero(~np.isnan(column[first:end]))
        holes = begin + np.flatnonzero(np.isnan(column[begin:end]))
        values = column[known]
        if before is not None and start <= 0:  # of the previous split only its last row counts, already filled
            known, values = np.append(max(before[0], start - 1), known), np.append(before[1], values)
        if after is not None and end < stop and after[0] < stop:
            known, values = np.append(known, after[0]), np.append(values, after[1])
        if len(known) and len(holes):
            column[holes] = np.interp(holes, known, values)


def longest_run(missing: npt.NDArray[np.bool_]) -> int:
    """Return the longest run of missing rows, from marks (rows,)."""
    if not missing.any():
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max())


def last_observed(column: Float32, before: float = np.nan) -> Float32:
    """Return the last value that is not missing, at or before each row; `before` until the first one."""
    missing = np.isnan(column)
    if not missing.any():
        return column
    last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(column))))
    return np.where(last >= 0, column[np.maximum(last, 0)], column.dtype.type(before))
