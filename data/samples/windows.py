"""Find samples: windows that cross neither series nor, on the train side, splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.reading.settings import DatasetSource, DataSettings
from data.samples.future import known_indices
from data.samples.splits import Bounds
from data.samples.stretch import Stretch

Int64 = npt.NDArray[np.int64]
Marked = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Windows:
    """First row and number of rows of each sample, and the number of windows left out, by reason."""

    starts: Int64
    lengths: Int64
    without_target: int = 0
    without_input: int = 0
    without_weight: int = 0


@dataclass(frozen=True)
class Marks:
    """Marks of rows (rows,) that exclude samples; None: no row is marked.

    `target` rows cannot be predicted, `input` rows cannot be inputs, `known` rows lack a known_future column, and no sample
    may end at a `weightless` row.
    """

    target: Marked
    input: Marked | None = None
    known: Marked | None = None
    weightless: Marked | None = None


def marks_of(rows: npt.NDArray[Any], absent: npt.NDArray[np.bool_], source: DatasetSource) -> Marks:
    """Return the marks of prepared rows, of which `absent` (rows, measured numbers) were missing."""
    settings, drop = source.settings, source.settings.missing == "drop"
    targets = rows[:, -len(settings.targets) :]
    return Marks(
        np.any(targets < 0 if source.classes else np.isnan(targets), axis=1),
        np.any(absent[:, : len(settings.features)], axis=1) if drop else None,
        np.any(absent[:, known_indices(settings)], axis=1) if drop and settings.known_future else None,
        None if settings.weight is None else rows[:, -1 - len(settings.targets)] == 0,
    )


def find_windows(bounds: Bounds, part: int, settings: DataSettings, marks: Marks, stretch: Stretch | None = None) -> Windows:
    """Return the samples of a part (0 train, 1 validation, 2 test) of one series.

    All predicted rows of a sample are in its part and observed; its input rows may reach back into earlier parts, never
    forward. With a `stretch`, `bounds` belong to the whole series, marks and samples to its loaded rows, and only samples
    with their last row in the stretch itself are returned.
    """
    first, stop = bounds[part], bounds[part + 1]
    horizon = settings.horizon
    if settings.lookback == "all":
        length = stop - first
        ends = np.array([stop - 1] if length >= settings.shortest_history else [], np.int64)
        lengths = np.full(len(ends), length, np.int64)
    else:
        # The last input row: its label is predicted (horizon 0), or the rows after it.
        lowest = max(first - (horizon > 0), settings.shortest_history - 1)
        if stretch is not None:
            lowest += -(-max(stretch.first - horizon - lowest, 0) // settings.stride) * settings.stride
            stop = min(stop, stretch.stop)
        ends = np.arange(lowest, stop - horizon, settings.stride, dtype=np.int64)
        lengths = np.minimum(ends + 1, settings.lookback)
        ends -= 0 if stretch is None else stretch.start
    possible = len(ends)
    low, high = (ends + 1, ends + 1 + horizon) if horizon else (ends, ends + 1)
    keep = _free_of(marks.target, low, high)
    ends, lengths, low, high = ends[keep], lengths[keep], low[keep], high[keep]
    with_target = len(ends)
    keep = _free_of(marks.input, ends + 1 - lengths, ends + 1) & _free_of(marks.known, low, high)
    ends, lengths = ends[keep], lengths[keep]
    with_input = len(ends)
    keep = _free_of(marks.weightless, ends, ends + 1)
    ends, lengths = ends[keep], lengths[keep]
    return Windows(ends + 1 - lengths, lengths, possible - with_target, with_target - with_input, with_input - len(ends))


def _free_of(marks: Marked | None, low: Int64, high: Int64) -> Marked:
    """Return which spans of rows, from `low` to before `high`, have no marked row."""
    if marks is None or not marks.any():
        return np.ones(len(low), bool)
    before = np.concatenate([[0], np.cumsum(marks)])
    return np.asarray(before[high] == before[low])
