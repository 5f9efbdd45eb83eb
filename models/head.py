"""A correction of the shared head for each dataset, for datasets that answer the same window differently.

With the shared head W, b and the correction V_d, c_d of dataset d the outputs are (W + V_d) h + (b + c_d). A correction
starts at zero, so it changes nothing until it is trained. It has as many outputs as the head had when it was made: for
classes that later datasets add (see models.added) it is zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.added import AddedClasses, zero_linear

PREFIX = "corrections."  # prefix of their names in a state


class Corrections(nn.ModuleDict):
    """The corrections, by the dataset's number in the sequence; a dataset without one has correction zero."""

    positions: Tensor

    def __init__(self, width: int, num_outputs: int):
        super().__init__()
        self.width, self.num_outputs = width, num_outputs
        self.register_buffer("positions", torch.zeros(1, dtype=torch.int64), persistent=False)

    def become(self, numbers: Iterable[int], sizes: Mapping[int, int] | None = None) -> bool:
        """Set the datasets with corrections, new ones at zero; returns whether anything changed.

        `sizes` has the outputs of each; without it an existing correction is unchanged, and a new one has the head's
        present outputs.
        """
        before = {number: self._linear(number).out_features for number in self.numbers}
        wanted = {number: (sizes or before).get(number, self.num_outputs) for number in numbers}
        for number in before.keys() - wanted.keys():
            del self[str(number)]
        for number in sorted(number for number in wanted if before.get(number) != wanted[number]):
            self[str(number)] = zero_linear(self.width, wanted[number])
        if wanted != before:
            # The index of each dataset among the stacked weights, 0 for none; the last entry is for all others.
            positions = torch.zeros(max(wanted, default=-1) + 2, dtype=torch.int64)
            for position, number in enumerate(self.numbers, 1):
                positions[number] = position
            self.to(self.positions.device)
            self.positions = positions.to(self.positions.device)
        return wanted != before

    def parameters_of(self, number: int) -> list[nn.Parameter]:
        """Return the parameters of a dataset's correction; none if it has no correction."""
        return list(self[str(number)].parameters()) if str(number) in self else []

    def _linear(self, number: int) -> nn.Linear:
        return cast(nn.Linear, self[str(number)])

    @property
    def numbers(self) -> list[int]:
        """Return the datasets with a correction, in rising order."""
        return sorted(map(int, self))

    def forward(self, summary: Tensor, owners: Tensor | int) -> Tensor:
        """Return V_d h + c_d for summaries h (batch, width) and each one's dataset: (batch, num_outputs)."""
        if isinstance(owners, int):
            if str(owners) not in self:
                return summary.new_zeros(summary.shape[0], self.num_outputs)
            return self.widen(self[str(owners)](summary))
        return correct_at_once(self, summary, owners) if summary.is_cuda else correct_by_group(self, summary, owners)

    def widen(self, outputs: Tensor) -> Tensor:
        """Return outputs (batch, fewer) with zeros for classes added later: (batch, num_outputs)."""
        absent = self.num_outputs - outputs.shape[1]
        return F.pad(outputs, (0, absent)) if absent else outputs


def correct_by_group(corrections: Corrections, summary: Tensor, owners: Tensor) -> Tensor:
    """Compute one product for each dataset: nothing is copied, but the host must know the datasets."""
    present = sorted({number for number in owners.tolist() if str(number) in corrections})
    outputs = summary.new_zeros(len(summary), corrections.num_outputs)
    for number in present:
        rows = (owners == number).nonzero()[:, 0]
        outputs = outputs.index_add(0, rows, corrections(summary[rows], number).to(outputs.dtype))
    return outputs


def correct_at_once(corrections: Corrections, summary: Tensor, owners: Tensor) -> Tensor:
    """Compute one product for all: each summary is placed among zeros at the position of its dataset.

    Always the same kernels, as a CUDA graph needs, and none that sorts, as the backward pass of an index does.
    """
    numbers = corrections.numbers
    if not numbers:
        return summary.new_zeros(len(summary), corrections.num_outputs)
    layers = [cast(nn.Linear, corrections[str(number)]) for number in numbers]
    positions = corrections.positions[owners.clamp(min=-1, max=numbers[-1] + 1)]
    one_hot = (positions[:, None] == torch.arange(1, len(numbers) + 1, device=summary.device)).to(summary.dtype)
    weights = torch.cat([corrections.widen(layer.weight.T).T for layer in layers], dim=1).to(summary.dtype)
    biases = torch.cat([corrections.widen(layer.bias[None]) for layer in layers]).to(summary.dtype)
    return (one_hot[:, :, None] * summary[:, None]).flatten(1) @ weights.T + one_hot @ biases


def sizes_in(weights: Mapping[str, Tensor], prefix: str) -> dict[int, int]:
    """Return the number of outputs of each layer in a state, for names of a prefix and a number."""
    biases = {name: value for name, value in weights.items() if name.startswith(prefix) and name.endswith(".bias")}
    return {int(name.removeprefix(prefix).partition(".")[0]): len(value) for name, value in biases.items()}


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load a state into a model and give it exactly the corrections and added classes of that state."""
    added, corrections = cast(AddedClasses, model.added), cast(Corrections, model.corrections)
    added.become(sizes_in(weights, added.PREFIX))
    added.to(corrections.positions.device)
    corrections.num_outputs = added.num_outputs
    sizes = sizes_in(weights, PREFIX)
    corrections.become(sizes, sizes)
    model.load_state_dict(dict(weights))
