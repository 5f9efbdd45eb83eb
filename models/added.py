"""Add outputs to the head for the classes of a later dataset, as separate layers.

They start at zero, with their own moments: no earlier weight, moment or state depends on a later class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from torch import Tensor, nn


class AddedClasses(nn.ModuleDict):
    """The added layers, by the number of their first output; the head has the first `num_first` outputs."""

    PREFIX: ClassVar[str] = "added."  # prefix of their names in a state

    def __init__(self, width: int, num_first: int):
        super().__init__()
        self.width, self.num_first = width, num_first
        self.num_outputs = num_first

    def become(self, sizes: Mapping[int, int]) -> bool:
        """Set the layers (first output: number of outputs), new ones at zero; returns whether any changed."""
        before = {int(first): cast(nn.Linear, layer).out_features for first, layer in self.items()}
        for first in before.keys() - sizes.keys():
            del self[str(first)]
        for first in sorted(first for first in sizes if before.get(first) != sizes[first]):
            self[str(first)] = zero_linear(self.width, sizes[first])
        self.num_outputs = self.num_first + sum(sizes.values())
        return dict(sizes) != before

    def grow(self, num_outputs: int) -> bool:
        """Add a layer to reach so many outputs; returns whether one was added."""
        sizes = {int(first): cast(nn.Linear, layer).out_features for first, layer in self.items()}
        missing = num_outputs - self.num_outputs
        return missing > 0 and self.become({**sizes, self.num_outputs: missing})

    def forward(self, outputs: Tensor, summary: Tensor) -> Tensor:
        """Return the head's outputs (batch, num_first) followed by the added ones: (batch, num_outputs)."""
        return torch.cat([outputs, *(self[str(first)](summary) for first in sorted(map(int, self)))], dim=1)


def zero_linear(width: int, num_outputs: int) -> nn.Linear:
    """Return a linear layer of zeros, without drawing random numbers."""
    made = cast(nn.Linear, nn.utils.skip_init(nn.Linear, width, num_outputs))  # type: ignore[no-untyped-call]
    for parameter in made.parameters():
        nn.init.zeros_(parameter)
    return made
