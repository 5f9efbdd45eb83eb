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
    """First row and number of rows of each sample, and how many were left out and why."""

    starts: Int64
    lengths: Int64
    without_target: int = 0
    without_input: int = 0
    without_weight: int = 0


@dataclass(frozen=True)
class Marks:
    """Rows (rows,) that decide against samples; None: there is none.

    `target` rows cannot be predicted, `input` rows may not go in, `known` rows lack what has to be known of a predicted row,
    and no sample may end at a `weightless` row.
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

    All rows that a sample predicts lie in its part and are observed; the rows that go in may reach back into the parts
    before it, never forward. Of a `stretch`, `bounds` are those of the whole series, the marks and the samples found are
    those of its loaded rows, and only the samples whose last row is one of its own are found.
    """
    first, stop = bounds[part], bounds[part + 1]
    horizon = settings.horizon
    if settings.lookback == "all":
        length = stop - first
        ends = np.array([stop - 1] if length >= settings.shortest_history else [], np.int64)
        lengths = np.full(len(ends), length, np.int64)
    else:
        # The last row that goes in: its label is its own (horizon 0), or the rows after it are predicted.
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
