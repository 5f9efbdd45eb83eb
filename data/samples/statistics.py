"""Statistics of each column over the train rows, as sums that add up over shards and datasets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
ROWS_AT_A_TIME = 32768  # of float64, so that some columns stay in the cache


@dataclass(frozen=True)
class Statistics:
    """Count, mean, sum of squared deviations, minimum and maximum of the observed values of each column: all (columns,)."""

    count: Float64
    mean: Float64
    squares: Float64
    low: Float64
    high: Float64

    @staticmethod
    def empty(columns: int) -> Statistics:
        """Return the statistics of no rows."""
        zero = np.zeros(columns)
        return Statistics(zero, zero, zero, np.full(columns, np.inf), np.full(columns, -np.inf))

    @staticmethod
    def of(values: npt.NDArray[np.float32]) -> Statistics:
        """Return the statistics of values (rows, columns), NaN is not observed; sums are in float64."""
        total = Statistics.empty(values.shape[1])
        for start in range(0, len(values), ROWS_AT_A_TIME):
            # One column after the other: along rows of a few columns NumPy takes five times as long.
            block = values[start : start + ROWS_AT_A_TIME].T.astype(np.float64, order="C")
            sums = block.sum(axis=1)
            if not np.isnan(sums).any():  # nothing is missing, as in most blocks
                count = np.full(len(sums), float(block.shape[1]))
                low, high = block.min(axis=1), block.max(axis=1)
                block -= (sums / count)[:, None]
            else:
                seen = ~np.isnan(block)
                count = seen.sum(axis=1).astype(np.float64)
                low, high = np.where(seen, block, np.inf).min(axis=1), np.where(seen, block, -np.inf).max(axis=1)
                sums = block.sum(axis=1, where=seen)
                block = np.where(seen, block - (sums / np.maximum(count, 1))[:, None], 0.0)
            squares = np.einsum("ij,ij->i", block, block)
            total = total.plus(Statistics(count, sums / np.maximum(count, 1), squares, low, high))
        return total

    def plus(self, other: Statistics) -> Statistics:
        """Return the statistics of both (Chan, Golub and LeVeque 1983, the pairwise update of the variance)."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        step = other.mean - self.mean
        return Statistics(
            count=count,
            mean=self.mean + step * share,
            squares=self.squares + other.squares + step**2 * self.count * share,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
        )

    @staticmethod
    def pooled(parts: Iterable[Statistics], columns: int) -> Statistics:
        """Return the sum of all parts, in their order."""
        total = Statistics.empty(columns)
        for part in parts:
            total = total.plus(part)
        return total

    @property
    def deviation(self) -> Float64:
        """Return the standard deviation with divisor n, 0 where a column is constant."""
        spread = np.sqrt(self.squares / np.maximum(self.count, 1))
        return np.where(self.high > self.low, spread, 0.0)

    def to_json(self) -> dict[str, list[float | None]]:
        """Return lists by name; infinities (of a column without values) become null."""
        return {
            name: [float(x) if np.isfinite(x) else None for x in getattr(self, name)]
            for name in ("count", "mean", "squares", "low", "high")
        }

    @staticmethod
    def from_json(facts: dict[str, list[float | None]]) -> Statistics:
        """Return the statistics that to_json wrote."""
        rest = {"low": np.inf, "high": -np.inf}
        columns = {k: np.array([rest.get(k, 0.0) if x is None else x for x in v], float) for k, v in facts.items()}
        return Statistics(**columns)
