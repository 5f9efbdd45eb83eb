"""A stretch of a long series: the rows of one part, and the facts it needs about the rows around them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data.samples.splits import Bounds
from data.samples.statistics import ROWS_AT_A_TIME, Statistics

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Edge:
    """The nearest observed value of each number column outside of the loaded rows: its row in the series, NaN if none."""

    rows: Int64
    values: npt.NDArray[np.floating]

    @staticmethod
    def none(columns: int) -> Edge:
        """Return an edge without known values."""
        return Edge(np.zeros(columns, np.int64), np.full(columns, np.nan))

    def round_to(self, bits: int) -> Edge:
        """Return the values rounded to so many bits."""
        return self if bits == 64 else Edge(self.rows, self.values.astype(np.float32))


@dataclass(frozen=True)
class Stretch:
    """Where loaded rows lie in their series; all positions are rows of the whole series.

    The part is responsible for the rows `first` to `stop`: it counts them, and a sample belongs to it if its last row is
    one of them. It stores the rows `kept` to `stop`; its samples reach back to `kept`. The rows from `start` on are
    loaded: the stored ones and, after them, those for the statistics of its blocks. `length` and `bounds` belong to the
    whole series; `before` and `after` are the observed values next to the loaded rows.
    """

    length: int
    bounds: Bounds
    first: int
    stop: int
    kept: int = 0
    start: int = 0
    before: Edge | None = None
    after: Edge | None = None

    @staticmethod
    def whole(length: int, bounds: Bounds) -> Stretch:
        """Return the stretch of a series that is in one part."""
        return Stretch(length, bounds, 0, length)

    @property
    def local_bounds(self) -> Bounds:
        """Return the bounds of the splits, counted from the first loaded row; they may lie outside of the loaded rows."""
        a, b, c, d = self.bounds
        return a - self.start, b - self.start, c - self.start, d - self.start

    @property
    def own(self) -> slice:
        """Return the rows that the part is responsible for, of the loaded ones."""
        return slice(self.first - self.start, self.stop - self.start)

    @property
    def stored(self) -> slice:
        """Return the rows that the part stores, of the loaded ones."""
        return slice(self.kept - self.start, self.stop - self.start)

    @property
    def used(self) -> int:
        """Return how many of the own rows belong to a split."""
        return max(min(self.stop, self.bounds[3]) - self.first, 0)

    def train_span(self) -> tuple[int, int]:
        """Return the own train rows, of the stored ones; empty where the second number is not above the first."""
        return self.first - self.kept, min(self.stop, self.bounds[1]) - self.kept

    def ends_at(self) -> int:
        """Return the row after the last one to load: the end of the last block of statistics that begins here."""
        block = -(-self.stop // ROWS_AT_A_TIME) * ROWS_AT_A_TIME
        begins_here = block - ROWS_AT_A_TIME >= self.first
        return max(self.stop, min(block, self.bounds[1])) if begins_here else self.stop

    def block_statistics(self, numbers: npt.NDArray[np.floating]) -> list[Statistics]:
        """Return the statistics of each block of train rows that begins in the own rows, of the loaded numbers.

        Blocks begin at multiples of ROWS_AT_A_TIME in the series, as in `Statistics.of`: combined in order they equal its
        result for the whole series, bit for bit.
        """
        blocks = []
        for row in range(-(-self.first // ROWS_AT_A_TIME) * ROWS_AT_A_TIME, min(self.stop, self.bounds[1]), ROWS_AT_A_TIME):
            end = min(row + ROWS_AT_A_TIME, self.bounds[1])
            blocks.append(Statistics.of(numbers[row - self.start : end - self.start]))
        return blocks


@dataclass
class StretchSummary:
    """The facts of a stretch that are combined over all stretches of a series.

    `blocks` are the statistics of its blocks of train rows. `missing_runs` has, for each number column, the missing used
    rows at the beginning and at the end of the stretch, and whether all of its used rows are missing. `steps` are the
    distinct steps of time, how often each occurs, and the time at the end of its first occurrence.
    """

    series: str
    first: int
    length: int
    blocks: list[Statistics] = field(default_factory=list)
    missing_runs: dict[str, tuple[int, int, bool]] = field(default_factory=dict)
    steps: tuple[Int64, Int64, Int64] | None = None


def missing_run(missing: npt.NDArray[np.bool_]) -> tuple[int, int, bool]:
    """Return the missing rows at the beginning and at the end of (rows,) marks, and whether all are."""
    observed = np.flatnonzero(~missing)
    if not len(observed):
        return len(missing), len(missing), True
    return int(observed[0]), len(missing) - 1 - int(observed[-1]), False


MOST_STEPS = 4096  # distinct steps that are counted: the most frequent ones, if there are more


def steps_of(times: Int64) -> tuple[Int64, Int64, Int64]:
    """Return the distinct steps between times, how often each occurs, and the time after its first occurrence."""
    steps, first, counts = np.unique(np.diff(times), return_index=True, return_counts=True)
    if len(steps) > MOST_STEPS:
        usual = np.sort(np.argsort(-counts, kind="stable")[:MOST_STEPS])
        steps, first, counts = steps[usual], first[usual], counts[usual]
    return steps, counts.astype(np.int64), times[1:][first]
