"""The samples of a step, on the device of the model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data.prepared.encoding import Batch


@dataclass(frozen=True)
class Taken:
    """Samples that go through the network together.

    `inputs` (samples, steps, features); `lengths` (samples,), None if all steps of all samples are valid; `targets` as in
    data.prepared.encoding.Batch. The first `num_new` samples belong to the dataset being trained, the others are
    replayed. `owners` has the dataset of each sample's head correction, or of all; None: none. `weights` (samples,) are
    loss weights; None: all 1. `known` (samples, horizon, columns) has the known_future columns of the predicted rows.
    """

    inputs: Tensor
    lengths: Tensor | None
    targets: Tensor
    num_new: int
    masks: Tensor | None = None
    owners: Tensor | int | None = None
    weights: Tensor | None = None
    known: Tensor | None = None

    def weights_of(self, some: slice) -> Tensor | None:
        """Return the weights of some of the samples."""
        return None if self.weights is None else self.weights[some]


def taken(
    batch: Batch, num_new: int, masks: Tensor | None, device: torch.device, owners: Tensor | int | None = None
) -> Taken:
    """Copy a batch from the host to a device."""
    uniform = bool((batch.lengths == batch.inputs.shape[1]).all())
    lengths = None if uniform else torch.from_numpy(batch.lengths).to(device)
    inputs, targets = torch.from_numpy(batch.inputs).to(device), torch.from_numpy(batch.targets).to(device)
    owners = owners.to(device) if isinstance(owners, Tensor) else owners
    weights = None if batch.weights is None else torch.from_numpy(batch.weights).to(device)
    known = None if batch.known is None else torch.from_numpy(batch.known).to(device)
    return Taken(inputs, lengths, targets, num_new, None if masks is None else masks.to(device), owners, weights, known)


def pinned(values: Tensor, device: torch.device) -> Tensor:
    """Return host values in pinned memory if a GPU will fetch them, so that the host need not wait."""
    return values.pin_memory() if device.type == "cuda" else values
