"""The positions of a split's samples: listed one by one, or as spans of windows with one stride."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
LOOKED_AT = 1000  # steps between samples, to determine the usual one
SPAN_BYTES, LISTED_BYTES = 24, 12  # in a file, of a span and of a listed sample


@dataclass(frozen=True)
class Listed:
    """First row and length of each sample."""

    starts: Int64
    lengths: Int32

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, samples: npt.NDArray[np.integer]) -> tuple[Int64, Int32]:
        """Return the first rows and the lengths of these samples."""
        return self.starts[samples], self.lengths[samples]


@dataclass(frozen=True)
class Spans:
    """Runs of samples of one length: the first row of the first sample, their number, and the stride."""

    first: Int64
    count: Int64
    stride: Int32
    length: Int32

    def __len__(self) -> int:
        return int(self.count.sum())

    def at(self, samples: npt.NDArray[np.integer]) -> tuple[Int64, Int32]:
        """Return the first rows and the lengths of these samples."""
        span = np.searchsorted(self._ends, samples, side="right")
        within = np.asarray(samples - (self._ends[span] - self.count[span]), np.int64)
        return self.first[span] + within * self.stride[span], self.length[span]

    @property
    def starts(self) -> Int64:
        """Return the first row of each sample."""
        within = np.arange(len(self)) - np.repeat(self._ends - self.count, self.count)
        return np.repeat(self.first, self.count) + within * np.repeat(self.stride, self.count)

    @property
    def lengths(self) -> Int32:
        """Return the length of each sample."""
        return np.repeat(self.length, self.count)

    @cached_property
    def _ends(self) -> Int64:
        return np.cumsum(self.count)


def spans_of(listed: Listed) -> Spans:
    """Return the spans of samples, each as long as possible."""
    starts, lengths = listed.starts, listed.lengths
    if not len(starts):
        return Spans(starts, starts, lengths, lengths)
    steps = np.diff(starts)
    stride = int(np.median(steps[:: max(len(steps) // LOOKED_AT, 1)])) if len(steps) else 1
    begins = np.concatenate([[0], 1 + np.flatnonzero((steps != stride) | (np.diff(lengths) != 0))])
    count = np.diff(begins, append=len(starts))
    return Spans(starts[begins], count, np.full(len(begins), stride, np.int32), lengths[begins])


def smaller(splits: list[Listed]) -> list[Listed] | list[Spans]:
    """Return the samples of the splits of a part in the smaller of both forms."""
    spans = [spans_of(listed) for listed in splits]
    room = sum(SPAN_BYTES * len(each.first) for each in spans)
    return spans if room < sum(LISTED_BYTES * len(listed) for listed in splits) else splits
