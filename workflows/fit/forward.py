"""Run samples through the model, in batches that suit its device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from data.prepared.encoding import Batch
from models.lstm import LSTM
from workflows.recipe.settings import TrainingSettings

# Sequences that go through the network together. A core takes 158 microseconds a sequence with 32 of them, 147 with 64, 164
# with 128 and 299 with 256 (a layer of 64 units, 96 steps; two cores at once 90 with 64 and with 128).
MICRO_BATCH = {"cpu": 64, "cuda": 4096}
EVALUATED_BATCH = {"cpu": 256, "cuda": 4096}  # forward alone needs a quarter of the memory


def outputs_of(model: LSTM, batch: Batch, training: TrainingSettings, head: int | None = None) -> Tensor:
    """Return a model's outputs for the samples of a batch, on its device and in the precision of the training.

    `head` is the dataset whose head correction applies; None: none.
    """
    device = next(model.parameters()).device
    inputs, lengths = torch.from_numpy(batch.inputs).to(device), torch.from_numpy(batch.lengths).to(device)
    known = None if batch.known is None else torch.from_numpy(batch.known).to(device)
    return forward(model, inputs, lengths, training, None, head, known)


def forward(
    model: LSTM,
    inputs: Tensor,
    lengths: Tensor | None,
    training: TrainingSettings,
    masks: Tensor | None = None,
    owners: Tensor | int | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Return a model's outputs for samples on its device, in the precision of the training."""
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
        outputs: Tensor = model(inputs, lengths, masks, owners, known)
    return outputs


def sequences_together(model: LSTM, device: torch.device, most: Mapping[str, int]) -> int:
    """Return how many samples go through the network at once; each may be several sequences."""
    return max(most[device.type] // model.num_series, 1)
