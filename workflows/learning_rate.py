"""The learning rate: carried from dataset to dataset and decayed, then laid out over the steps of a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def carried_rates(
    learning_rate: float, decay_rate: float | Sequence[float], num_datasets: int, floor: float = 0.0
) -> list[float]:
    """The rate of each dataset: lr_k = lr_0 times the product of the decay rates so far, at least `floor`.

    `decay_rate` is one number, or one for each change of dataset (num_datasets - 1 of them).
    """
    changes = [decay_rate] * (num_datasets - 1) if isinstance(decay_rate, (int, float)) else list(decay_rate)
    if len(changes) != num_datasets - 1:
        raise ValueError(f"{num_datasets} datasets have {num_datasets - 1} changes, got {len(changes)} decay rates")
    rates = [learning_rate]
    for decay in changes:
        rates.append(rates[-1] * decay)
    return [max(rate, floor) for rate in rates]


def step_rates(rate: float, num_steps: int, first_step: int, warmup_steps: int) -> npt.NDArray[np.float64]:
    """The rate of each of the steps first_step .. first_step + num_steps - 1 of a dataset, as float64 (num_steps,).

    Constant at `rate`, after a linear ramp over the first `warmup_steps` steps of the dataset: (s + 1) / warmup_steps.
    """
    step = np.arange(first_step, first_step + num_steps)
    ramp = np.minimum((step + 1) / warmup_steps, 1.0) if warmup_steps else np.ones(num_steps)
    return np.asarray(rate * ramp, np.float64)
