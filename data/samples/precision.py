"""32 bits for prepared rows, or 64 if 32 cannot hold the differences between neighbouring rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.samples.series import Series

MOST_LOST = 0.1  # of the usual difference between two rows, by rounding


def narrowed(series: Sequence[Series], bits: int | None = None) -> list[Series]:
    """Return the series in 32 bits, or in 64 where a column needs them, such as a counter near 1e8 that counts by one.

    `bits` gives the answer where the series are only stretches of those that decide.
    """
    wide = any(each.numbers.dtype == np.float64 for each in series)
    if wide and not (_needs_64_bits(series) if bits is None else bits == 64):
        return [replace(each, numbers=each.numbers.astype(np.float32)) for each in series]
    return list(series)


def _needs_64_bits(series: Sequence[Series]) -> bool:
    """Return whether rounding to 32 bits changes the median difference of two neighbouring rows by more than a tenth."""
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


@dataclass(frozen=True)
class Rounding:
    """The effect of 32 bits on a stretch of a column: whether any, on how many of its steps, and on how many a large one."""

    inexact: bool
    steps: int
    spoilt: int


def rounding_of(numbers: npt.NDArray[Any]) -> tuple[Rounding, ...]:
    """Return the effect of 32 bits on each column of (rows, columns); none on numbers that are already 32-bit."""
    if numbers.dtype != np.float64:
        return ()
    found = []
    for exact in numbers.T:
        rounded = exact.astype(np.float32).astype(np.float64)
        if np.array_equal(exact, rounded, equal_nan=True):
            found.append(Rounding(False, 0, 0))
            continue
        steps = np.diff(exact)
        there = np.abs(steps) > 0
        lost = np.abs(np.diff(rounded) - steps)[there] / np.abs(steps[there])
        found.append(Rounding(True, len(lost), int((lost > MOST_LOST).sum())))
    return tuple(found)


def bits_of(stretches: Iterable[tuple[Rounding, ...]]) -> int:
    """The bits that the columns need, as `narrowed` finds them: 64 where more than half of the steps of one are spoilt."""
    for column in zip(*(each for each in stretches if each), strict=True):
        inexact = [each for each in column if each.inexact]
        if 2 * sum(each.spoilt for each in inexact) > sum(each.steps for each in inexact):
            return 64
    return 32
