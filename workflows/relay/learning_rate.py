"""The learning rate: carried from dataset to dataset and decayed, then scheduled over the steps of a dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.schedules import SCHEDULES, Float64

PLATEAU_THRESHOLD = 1e-4  # torch's


def carried_rates(
    learning_rate: float, decay_rate: float | Sequence[float], num_datasets: int, floor: float = 0.0
) -> list[float]:
    """Return the rate of each dataset: lr_k = lr_0 times the product of the decay rates so far, at least `floor`.

    `decay_rate` is one number, or one for each change of dataset (num_datasets - 1 of them).
    """
    changes = [decay_rate] * (num_datasets - 1) if isinstance(decay_rate, (int, float)) else list(decay_rate)
    if len(changes) != num_datasets - 1:
        raise ValueError(f"{num_datasets} datasets have {num_datasets - 1} changes, got {len(changes)} decay rates")
    rates = [learning_rate]
    for decay in changes:
        rates.append(rates[-1] * decay)
    return [max(rate, floor) for rate in rates]


def step_rates(
    rate: float,
    num_steps: int,
    first_step: int,
    warmup_steps: int = 0,
    schedule: str = "constant",
    all_steps: int = 0,
    steps_before: int = 0,
) -> Float64:
    """Return the rate of each of the steps first_step .. first_step + num_steps - 1 of a dataset, as float64 (num_steps,).

    `schedule` covers all `all_steps` steps of the dataset; "constant" and "plateau" do not depend on them. A linear ramp
    over the first `warmup_steps` steps of the run, (s + 1) / warmup_steps, multiplies it; `steps_before` of them were
    before this dataset.
    """
    step = np.arange(first_step, first_step + num_steps)
    ramp = np.minimum((steps_before + step + 1) / warmup_steps, 1.0) if warmup_steps else np.ones(num_steps)
    return np.asarray(SCHEDULES[schedule].rates(rate, step, all_steps) * ramp, np.float64)


def plateau_rate(
    rate: float, errors: Sequence[float | None], factor: float, patience: int, threshold: float = PLATEAU_THRESHOLD
) -> float:
    """Return the rate after epochs with these errors: times `factor` after more than `patience` epochs without improvement.

    As torch's ReduceLROnPlateau: an improvement is lower than the best so far by a share of `threshold`, and the count
    restarts at each reduction. NaN is never an improvement.
    """
    best, bad = math.inf, 0
    for error in errors:
        if error is not None and error < best * (1 - threshold):
            best, bad = error, 0
        else:
            bad += 1
        if bad > patience:
            rate, bad = rate * factor, 0
    return rate
