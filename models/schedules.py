"""The learning rate schedules within a dataset, one entry each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """A schedule over all steps of a dataset.

    `rates(rate, step, all_steps)` returns the rate of each of the steps `step` (counted from 0) of `all_steps`; `rate` is
    the one that the dataset starts from.
    """

    rates: Callable[[float, Int64, int], Float64]
    description: str = ""


def _constant(rate: float, step: Int64, all_steps: int) -> Float64:  # noqa: ARG001 the same for any number of them
    return np.full(len(step), rate)


def _cosine(rate: float, step: Int64, all_steps: int) -> Float64:
    """Return half a cosine from the rate to zero (Loshchilov and Hutter 2017), as torch's CosineAnnealingLR."""
    return np.asarray(rate * (1 + np.cos(np.pi * step / all_steps)) / 2)


def _cyclical(rate: float, step: Int64, all_steps: int) -> Float64:
    """Return two triangles from a quarter of the rate to the rate and back (Smith 2017): torch's CyclicLR "triangular"."""
    half = max(all_steps // 4, 1)
    height = 1 - np.abs(step / half - 2 * np.floor(1 + step / (2 * half)) + 1)
    return np.asarray(rate * (0.25 + 0.75 * np.maximum(height, 0)))


def _one_cycle(rate: float, step: Int64, all_steps: int) -> Float64:
    """Rise to the rate over the first 30 % of the steps, then fall to nearly zero (Smith and Topin 2018).

    As torch's OneCycleLR: half cosines from rate / 25 to the rate to rate / 250,000.
    """
    top, end = 0.3 * all_steps - 1, all_steps - 1
    low, least = rate / 25, rate / 250_000

    def between(first: float, last: float, share: npt.NDArray[np.floating]) -> Float64:
        return np.asarray(last + (first - last) / 2 * (1 + np.cos(np.pi * share)))

    rising = between(low, rate, step / top) if top > 0 else np.full(len(step), rate)
    return np.where(step <= top, rising, between(rate, least, (step - top) / max(end - top, 1e-12)))


SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(_constant),
    "cosine": Schedule(_cosine, "half a cosine from the rate to zero (Loshchilov and Hutter 2017)"),
    "cyclical": Schedule(_cyclical, "two triangles from a quarter of the rate to the rate and back (Smith 2017)"),
    "one_cycle": Schedule(
        _one_cycle, "rise over the first 30 % of the steps, then fall to near zero (Smith and Topin 2018)"
    ),
    # Constant inside an epoch; workflows.relay.learning_rate.plateau_rate decides between epochs.
    "plateau": Schedule(_constant, "reduce by plateau_factor when validation stops improving"),
}
