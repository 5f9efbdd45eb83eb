"""Dropout masks that do not depend on the number of workers or the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.lstm import LSTM
from workflows.fit.steps import Step


def dropout_masks(model: LSTM, step: Step, seed: tuple[int, int, int]) -> Tensor | None:
    """Return masks for a whole global batch, so that a sample's mask does not depend on its worker; None: no dropout.

    On the host: (new samples, then replayed ones; layers; units), from `seed` (seed, stage, epoch) and the step's number.
    """
    if model.dropout == 0:
        return None
    number = np.random.SeedSequence((*seed, step.number)).generate_state(1, np.uint64)[0]
    random = torch.Generator().manual_seed(int(number >> 1))
    keep = torch.rand((len(step.batch) + len(step.old), *model.mask_shape), generator=random) >= model.dropout
    return keep / (1 - model.dropout)
