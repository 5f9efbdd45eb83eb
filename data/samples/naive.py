"""Measure the error of the naive forecast: repeat the last value, or guess the most frequent label."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from data.reading.columns import Column
from data.samples.gaps import last_observed
from data.samples.naive_sums import NaiveSums
from data.samples.stretch import Edge

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
SAMPLES_AT_A_TIME = 32768  # so that the arrays of one step of the horizon stay in the cache


class ForecastErrors:
    """Sums over samples of the error of repeating the last known value of each target, in the target's own units."""

    def __init__(self, num_targets: int):
        self.count = np.zeros(num_targets)
        self.squared = np.zeros(num_targets)
        self.absolute = np.zeros(num_targets)

    def add(self, last: Float32, targets: Float32, ends: npt.NDArray[np.int64], horizon: int) -> None:
        """Count the samples with last rows `ends`, in rising order: last and targets are (rows, targets)."""
        for start in range(0, len(ends), SAMPLES_AT_A_TIME):
            some = ends[start : start + SAMPLES_AT_A_TIME]
            # One target after the other: along rows of a few targets NumPy takes several times as long.
            known = last[some].T.astype(np.float64, order="C")
            ahead = targets[some[0] : some[-1] + horizon + 1].T.astype(np.float64, order="C")
            for step in range(1, horizon + 1):
                gap = np.take(ahead, some - some[0] + step, axis=1) - known
                unseen = np.isnan(gap)
                gap[unseen] = 0.0
                self.squared += np.einsum("ij,ij->i", gap, gap)
                self.absolute += np.abs(gap, out=gap).sum(axis=1)
                self.count += gap.shape[1] - np.count_nonzero(unseen, axis=1)

    def sums(self) -> NaiveSums:
        """Return the sums, a number for each target."""
        return NaiveSums(*(tuple(each.tolist()) for each in (self.count, self.squared, self.absolute)))


def last_known(rows: Float32, columns: list[Column], targets: list[str], before: Edge | None = None) -> Float32:
    """Return the last value of each target that the model can know at each row: (rows, targets).

    If the target is also a feature, that is the feature with its gaps filled; otherwise, or if it is still missing, the
    last observed value. `before` has the last observed values of the number columns before the first row.
    """
    numbers = {column.name: index for index, column in enumerate(columns) if column.kind == "number"}
    target_index = {name: len(columns) - len(targets) + offset for offset, name in enumerate(targets)}
    names = [column.name for column in columns if column.kind in ("number", "weight", "target")]
    known = {} if before is None else dict(zip(names, before.values.tolist(), strict=True))
    return np.stack(
        [last_observed(rows[:, numbers.get(name, target_index[name])], known.get(name, np.nan)) for name in targets], axis=1
    )


def label_errors(train: Float32, labels: Float32) -> NaiveSums:
    """Return sums of the error of guessing the mean train label: train and labels are (samples, targets)."""
    gap = labels.astype(np.float64) - train.mean(axis=0, dtype=np.float64)
    squared, absolute = (gap**2).sum(axis=0), abs(gap).sum(axis=0)
    return NaiveSums((float(len(labels)),) * labels.shape[1], tuple(squared.tolist()), tuple(absolute.tolist()))


def class_errors(train: Mapping[str, int], labels: Mapping[str, int]) -> NaiveSums:
    """Return the share of samples that the most frequent train class gets wrong, from the samples of each class."""
    usual = min(train, key=lambda name: (-train[name], name))
    count = sum(labels.values())
    return NaiveSums((count,), wrong=(count - labels.get(usual, 0),))
