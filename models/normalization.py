"""Per-window normalization and its inverse on the forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LEAST_VARIANCE = 1e-5  # added to the variance of a window, in scaled units: a constant window is divided by 0.003


@dataclass(frozen=True)
class Level:
    """The level removed from a window: value = scale * normalised + shift, both (batch, numbers)."""

    shift: Tensor
    scale: Tensor


def normalise(
    inputs: Tensor, lengths: Tensor | None, method: Literal["last", "instance"], num_numbers: int
) -> tuple[Tensor, Level]:
    """Return the inputs (batch, steps, features) without each window's level in the first `num_numbers` features.

    "last" subtracts the values at the last valid step (NLinear, Zeng et al. 2023). "instance" subtracts the mean and
    divides by the standard deviation, with divisor n, over the valid steps (RevIN, Kim et al. 2022, without its affine
    part). The other features are unchanged; steps beyond a length change nothing and become zero. Without lengths all
    steps are valid.
    """
    if lengths is None:
        numbers = inputs[..., :num_numbers]
        shift = numbers[:, -1] if method == "last" else numbers.sum(dim=1) / inputs.shape[1]
        gaps = numbers - shift[:, None]
        if method == "last":
            scale = torch.ones_like(shift)
        else:
            scale = (gaps.square().sum(dim=1) / inputs.shape[1] + LEAST_VARIANCE).sqrt()
        return torch.cat([gaps / scale[:, None], inputs[..., num_numbers:]], dim=2), Level(shift, scale)
    valid = (torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None])[..., None]
    numbers = torch.where(valid, inputs[..., :num_numbers], 0.0)
    if method == "last":
        rows = torch.arange(inputs.shape[0], device=inputs.device)
        shift = numbers[rows, (lengths - 1).clamp(min=0)]
        scale = torch.ones_like(shift)
    else:
        count = lengths.clamp(min=1)[:, None]
        shift = numbers.sum(dim=1) / count
        gaps = torch.where(valid, numbers - shift[:, None], 0.0)
        scale = (gaps.square().sum(dim=1) / count + LEAST_VARIANCE).sqrt()
    numbers = torch.where(valid, (numbers - shift[:, None]) / scale[:, None], 0.0)
    return torch.cat([numbers, inputs[..., num_numbers:]], dim=2), Level(shift, scale)


def restore(outputs: Tensor, level: Level, targets: Sequence[int], num_levels: int) -> Tensor:
    """Return the outputs (batch, steps * targets * num_levels) at the level of their windows, in float32.

    `targets` are the indices of the targets among the numbers of the level.
    """
    apart = outputs.float().view(outputs.shape[0], -1, len(targets), num_levels)
    shift, scale = (
        torch.stack([each[:, index] for index in targets], dim=1)[:, None, :, None] for each in (level.shift, level.scale)
    )
    return (apart * scale + shift).view_as(outputs)
