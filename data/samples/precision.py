"""32 bits for prepared rows, or 64 where 32 cannot hold the differences between neighbouring rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.samples.series import Series

MOST_LOST = 0.1  # of the usual difference between two rows, by rounding


def narrowed(series: Sequence[Series], bits: int | None = None) -> list[Series]:
    """The series in 32 bits; in 64 where a column needs them, such as a counter near 1e8 that goes up by ones.

    `bits` says it where the series are but stretches of those that decide.
    """
    wide = any(each.numbers.dtype == np.float64 for each in series)
    if wide and not (_needs_64_bits(series) if bits is None else bits == 64):
        return [replace(each, numbers=each.numbers.astype(np.float32)) for each in series]
    return list(series)


def _needs_64_bits(series: Sequence[Series]) -> bool:
    """Whether rounding to 32 bits changes the median difference of two neighbouring rows by more than a tenth."""
    for column in range(series[0].numbers.shape[1]):
        lost = []
        for each in series:
            exact = each.numbers[:, column]
            rounded = exact.astype(np.float32).astype(np.float64)
            if np.array_equal(exact, rounded, equal_nan=True):
                continue
            steps = np.diff(exact)
            changed = np.abs(np.diff(rounded) - steps)
            there = np.abs(steps) > 0  # False where a value is missing
            lost.append(changed[there] / np.abs(steps[there]))
        if lost and (every := np.concatenate(lost)).size and float(np.median(every)) > MOST_LOST:
            return True
    return False
