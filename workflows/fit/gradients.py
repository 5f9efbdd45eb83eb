"""The gradients of a step in one buffer, with only the head corrections that have samples in the step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from models.lstm import LSTM


@contextlib.contextmanager
def only_heads(model: LSTM, heads: Sequence[int]) -> Iterator[None]:
    """Hide the gradients of other datasets' head corrections: Adam's moments would move them without a sample."""
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
    """Return a buffer (numbers + 1,) with all gradients and the loss at its end: one all-reduce per step."""
    sums, start = torch.zeros(sum(p.numel() for p in parameters) + 1, device=device), 0
    for parameter in parameters:
        parameter.grad = sums[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return sums


@torch.no_grad()
def step_unless(absent: Tensor, optimizer: torch.optim.Optimizer, parameters: Sequence[torch.nn.Parameter]) -> None:
    """Run one AdamW step; where `absent` (a number on the device) is 1, the parameters and their moments stay unchanged.

    Torch provides this for gradients that overflow: the kernel reads the number, so the host need not know it.
    """
    group = optimizer.param_groups[0]
    for parameter in parameters:
        if not optimizer.state[parameter]:
            kept = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **kept}
    states = [optimizer.state[parameter] for parameter in parameters]
    adamw(
        list(parameters),
        [parameter.grad for parameter in parameters if parameter.grad is not None],
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        [state["step"] for state in states],
        fused=True,
        capturable=group["capturable"],
        found_inf=absent,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
