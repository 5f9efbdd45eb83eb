"""Find samples: windows that cross neither series nor, on the train side, splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.reading.settings import DataSettings
from data.samples.splits import Bounds
from data.samples.stretch import Stretch

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """First row and length of each sample, and how many were left out for a missing target or input."""

    starts: Int64
    lengths: Int64
    without_target: int = 0
    without_input: int = 0


def find_windows(
    bounds: Bounds,
    part: int,
    settings: DataSettings,
    bad_input: npt.NDArray[np.bool_] | None,
    bad_target: npt.NDArray[np.bool_],
    stretch: Stretch | None = None,
) -> Windows:
    """Return the samples of a part (0 train, 1 validation, 2 test) of one series.

    All rows that a sample predicts lie in its part and are observed; the rows that go in may reach back into the parts
    before it, never forward. `bad_input` (rows,) marks rows that no sample may touch, `bad_target` rows that cannot be
    predicted. Of a `stretch`, `bounds` are those of the whole series, the marks and the samples found are those of its
    loaded rows, and only the samples whose last row is one of its own are found.
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
    starts = ends + 1 - lengths
    possible = len(ends)
    if bad_target.any():
        before = np.concatenate([[0], np.cumsum(bad_target)])
        low, high = (ends + 1, ends + 1 + horizon) if horizon else (ends, ends + 1)
        keep = before[high] == before[low]
        ends, starts, lengths = ends[keep], starts[keep], lengths[keep]
    with_target = len(ends)
    if bad_input is not None and bad_input.any():
        touched = np.concatenate([[0], np.cumsum(bad_input)])
        keep = touched[ends + 1] == touched[starts]
        starts, lengths = starts[keep], lengths[keep]
    return Windows(starts, lengths, possible - with_target, with_target - len(starts))
