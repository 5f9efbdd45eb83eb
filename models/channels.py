"""Split numeric features into separate series, and join the outputs of the series into one forecast."""

from __future__ import annotations

import torch
from torch import Tensor

from models.settings import Channels


def width_of_a_series(num_features: int, channels: Channels) -> int:
    """Return the inputs of a series at each step: its own number, the shared ones, and its own missing flag."""
    return num_features - (channels.num_numbers - 1) * (1 + channels.flags)


def take_apart(inputs: Tensor, channels: Channels) -> Tensor:
    """Return (batch, steps, features) as (batch * numbers, steps, width_of_a_series), the series of a sample in sequence.

    As in PatchTST (Nie et al. 2023). One-hot and calendar features go with every series, a missing flag with its own.
    """
    batch, steps, _ = inputs.shape
    count = channels.num_numbers
    shared_end = inputs.shape[2] - count * channels.flags
    parts = [
        inputs[..., :count].transpose(1, 2)[..., None],
        inputs[:, None, :, count:shared_end].expand(-1, count, -1, -1),
        inputs[..., shared_end:].transpose(1, 2)[..., None] if channels.flags else inputs.new_empty(batch, count, steps, 0),
    ]
    return torch.cat(parts, dim=3).flatten(0, 1)


def put_together(outputs: Tensor, channels: Channels, num_levels: int) -> Tensor:
    """Return the outputs of the series (batch * numbers, steps * num_levels) as (batch, steps * targets * num_levels)."""
    # Not by a list of indices: it would be copied to the device, which a captured CUDA graph may not do.
    series = outputs.view(-1, channels.num_numbers, outputs.shape[1] // num_levels, num_levels).unbind(1)
    return torch.stack([series[index] for index in channels.targets], dim=2).flatten(1)
