"""Fill missing values of windows from the same window, as data.samples.gaps does in prepared rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Carry = Callable[[Tensor], tuple[Tensor, Tensor]]


def carry(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last observed value at each step and its age in steps, both like values (batch, steps, features).

    The value is NaN if none was observed yet; its age is then meaningless.
    """
    steps = torch.arange(values.shape[1])[None, :, None]
    last = torch.where(values.isnan(), -1, steps).cummax(dim=1).values
    carried = values.gather(1, last.clamp(min=0))
    return torch.where(last < 0, torch.nan, carried), (steps - last).to(values.dtype)


def filled_forward(values: Tensor, carry: Carry = carry) -> Tensor:
    """Return values (batch, steps, features) with each NaN replaced by the last value before it, NaN if there is none."""
    return carry(values)[0]


def interpolated(values: Tensor, carry: Carry = carry) -> Tensor:
    """Return values with NaN interpolated linearly between neighbours; at an end the nearest value is repeated."""
    before, age = carry(values)
    after, ahead = (each.flip(1) for each in carry(values.flip(1)))
    between = before + (after - before) * (age / (age + ahead).clamp(min=1))
    return torch.where(before.isnan(), after, torch.where(after.isnan(), before, between))
