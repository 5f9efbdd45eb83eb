"""Sums of the weights after each step, and the average taken from them at the end of a stage (see fit.thirds)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.head import PREFIX
from workflows.fit.thirds import BEFORE, TAIL, parts_kept, tail_steps


class StepSums:
    """The sums of parameters after the steps of an epoch, on their device, always in the same memory."""

    def __init__(self, parameters: Mapping[str, Tensor]):
        self.parameters = dict(parameters)
        self.sums = {part: [torch.zeros_like(each) for each in self.parameters.values()] for part in (TAIL, BEFORE)}
        self.kept: tuple[str, ...] = ()
        self.idle: tuple[str, ...] = ()
        self.first_of_tail = 0

    @torch.no_grad()
    def begin(self, epoch: int, num_steps: int, idle: Sequence[int] = ()) -> None:
        """Begin an epoch 0, 1, ... of a stage; no step of it has a sample of the datasets `idle`, and their heads stay."""
        self.kept, self.first_of_tail = parts_kept(epoch), num_steps - tail_steps(epoch, num_steps)
        self.idle = tuple(f"{PREFIX}{number}." for number in idle)
        for values in self.sums.values():
            torch._foreach_zero_(values)

    def part(self, step: int) -> str:
        """Return the part of the sums that step 0, 1, ... belongs to; empty if the epoch keeps none.

        A step is recorded by its part, so its kernels may not depend on the epoch.
        """
        part = TAIL if step >= self.first_of_tail else BEFORE
        return part if part in self.kept else ""

    @torch.no_grad()
    def add(self, part: str) -> None:
        """Add the current parameters to a part's sums."""
        if part:
            torch._foreach_add_(self.sums[part], list(self.parameters.values()))

    def tensors(self) -> dict[str, Tensor]:
        """Return the sums of the last epoch by part and parameter, copied to the host; none before the first epoch."""
        return {
            f"{part}.{name}": value.detach().cpu().clone()
            for part in self.kept
            for name, value in zip(self.parameters, self.sums[part], strict=True)
            if not name.startswith(self.idle)
        }


def mean_weights(
    epochs: Sequence[tuple[Mapping[str, Tensor], int, bool]], num_steps: int, last: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the mean of the weights after each averaged step.

    `epochs` has the sums that the checkpoint of each averaged epoch keeps, its number, and whether all of its steps count;
    `last` are the weights at the end of the last epoch, used for parameters that an epoch did not train.
    """
    count = sum(num_steps if whole else tail_steps(number, num_steps) for _, number, whole in epochs)
    means = dict(last)
    for name, value in last.items():
        wanted = [(sums, f"{part}.{name}") for sums, _, whole in epochs for part in ((TAIL, BEFORE) if whole else (TAIL,))]
        if wanted and all(key in sums for sums, key in wanted):
            parts = [sums[key].double() for sums, key in wanted]
            means[name] = (torch.stack(parts).sum(dim=0) / count).to(value.dtype)
    return means
