"""Choose 32 bits for prepared rows, or 64 if 32 lose the differences between neighbouring rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.samples.series import Series

MOST_LOST = 0.1  # share of the usual difference between two rows that rounding may change


def narrow(series: Sequence[Series], bits: int | None = None) -> list[Series]:
    """Return the series in 32 bits, or in 64 if a column needs them, such as a counter near 1e8 that counts by one.

    `bits` sets the number for stretches of series, because the whole series decide it.
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
            differ = np.abs(steps) > 0  # False if a value is missing
            lost.append(changed[differ] / np.abs(steps[differ]))
        if lost and (every := np.concatenate(lost)).size and float(np.median(every)) > MOST_LOST:
            return True
    return False


@dataclass(frozen=True)
class Rounding:
    """The effect of 32 bits on a stretch of a column: whether any value changes, its steps, and how many change much."""

    inexact: bool
    steps: int
    spoilt: int


def rounding_of(numbers: npt.NDArray[Any]) -> tuple[Rounding, ...]:
    """Return the effect of 32 bits on each column of (rows, columns); none on numbers that are already 32-bit."""
    if numbers.dtype != np.float64:
        return ()
    roundings = []
    for exact in numbers.T:
        rounded = exact.astype(np.float32).astype(np.float64)
        if np.array_equal(exact, rounded, equal_nan=True):
            roundings.append(Rounding(False, 0, 0))
            continue
        steps = np.diff(exact)
        differ = np.abs(steps) > 0
        lost = np.abs(np.diff(rounded) - steps)[differ] / np.abs(steps[differ])
        roundings.append(Rounding(True, len(lost), int((lost > MOST_LOST).sum())))
    return tuple(roundings)


def bits_of(stretches: Iterable[tuple[Rounding, ...]]) -> int:
    """Return the bits that the columns need, as `narrow` does: 64 if rounding spoils more than half of the steps of one."""
    for column in zip(*(each for each in stretches if each), strict=True):
        inexact = [each for each in column if each.inexact]
        if 2 * sum(each.spoilt for each in inexact) > sum(each.steps for each in inexact):
            return 64
    return 32
