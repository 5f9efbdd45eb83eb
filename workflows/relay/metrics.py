"""Forgetting and transfer of a sequence, from the errors of all datasets before and after each stage.

For datasets 1 .. T in the order of training, R[i][j] is the error on dataset j after stage i, row 0 being untrained; lower
is better, so differences have the opposite sign of the papers' for accuracies. Entries that were not measured are None
and left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.prepared.encoding import EncodedDataset
from models.loss_table import LOSSES

Row = Sequence[float | None]


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of the known values; None if none is known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _difference(high: float | None, low: float | None) -> float | None:
    return None if high is None or low is None else high - low


def forgetting(matrix: Sequence[Row]) -> float | None:
    """Return the mean over all datasets but the last of the final error minus the lowest error after an earlier stage.

    Chaudhry et al. 2018 (Riemannian Walk), for errors: positive means forgotten, negative still improving.
    """
    last = matrix[-1]
    rises = []
    for j in range(len(last) - 1):
        before = [row[j] for row in matrix[1:-1] if row[j] is not None]
        rises.append(_difference(last[j], min(before) if before else None))  # type: ignore[type-var]
    return mean_of(rises)


def backward_transfer(matrix: Sequence[Row]) -> float | None:
    """Return the mean over all datasets but the last of the error right after its stage minus the final error.

    Lopez-Paz and Ranzato 2017 (GEM), for errors: positive means that later datasets helped earlier ones.
    """
    return mean_of([_difference(matrix[j + 1][j], matrix[-1][j]) for j in range(len(matrix[-1]) - 1)])


def forward_transfer(matrix: Sequence[Row]) -> float | None:
    """Return the mean over all datasets but the first of the untrained error minus the error right before its stage.

    Lopez-Paz and Ranzato 2017 (GEM), for errors: positive means that earlier datasets helped later ones.
    """
    return mean_of([_difference(matrix[0][j], matrix[j][j]) for j in range(1, len(matrix[-1]))])


def naive_error(dataset: EncodedDataset, split: str, loss: str) -> float | None:
    """Return the naive forecast's error, measured as the error of a model with this loss; None without samples."""
    sums = dataset.prepared.manifest.naive[split]
    count = np.array(sums.count)
    if not count.all():
        return None
    if sums.wrong:
        return float(sums.wrong[0] / count[0])
    absolute = float((np.array(sums.absolute) / count / dataset.target_scale).mean())
    squared = float((np.array(sums.squared) / count / dataset.target_scale**2).mean())
    return float(LOSSES[loss].error.of_point(absolute, squared))


def scaled(error: float | None, naive: float | None) -> float | None:
    """Return an error relative to the naive forecast (naive = 1)."""
    return None if error is None or not naive else error / naive
