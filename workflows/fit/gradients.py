"""The gradients of a step: all in one buffer, and of the corrections of the head only those that the step has samples of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.lstm import LSTM


@contextlib.contextmanager
def only_heads(model: LSTM, heads: Sequence[int]) -> Iterator[None]:
    """Let the optimizer see no gradient of other datasets' corrections: Adam's moments would move them without a sample."""
    idle = [
        p for number in model.corrections.numbers if number not in heads for p in model.corrections.parameters_of(number)
    ]
    gradients = [parameter.grad for parameter in idle]
    for parameter in idle:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(idle, gradients, strict=True):
            parameter.grad = gradient


def gradients_in_one(parameters: Sequence[torch.nn.Parameter], device: torch.device) -> Tensor:
    """A buffer (numbers + 1,) that all gradients lie in, and the loss at its end: one all-reduce a step."""
    sums, place = torch.zeros(sum(p.numel() for p in parameters) + 1, device=device), 0
    for parameter in parameters:
        parameter.grad = sums[place : place + parameter.numel()].view_as(parameter)
        place += parameter.numel()
    return sums
