"""One worker's share of an evaluation: the sums of the errors over its samples."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import torch
from torch import Tensor

from data.prepared.encoding import EncodedDataset
from models.forecast_sums import ForecastSums
from models.losses import ErrorSums
from models.settings import ModelSettings
from workflows.fit.forward import forward
from workflows.fit.group import Group
from workflows.fit.lanes import Lane
from workflows.fit.sampling import Int64, micro_batches, worker_share
from workflows.fit.threads import Replica
from workflows.recipe.settings import TrainingSettings

Head = int | Callable[[Int64], Int64] | None  # the dataset whose head correction applies, for all samples or for each
MEASURED_TOGETHER = 65_536  # samples whose lengths are sorted together


class NonFiniteLossError(Exception):
    """The loss or its gradient was not finite; the state before the epoch remains."""


@dataclass(frozen=True)
class Evaluator:
    """One worker's side of an evaluation: the model's replicas, the lane that runs them, and how many samples at a time."""

    replicas: Sequence[Replica]
    lane: Lane
    group: Group
    settings: ModelSettings
    training: TrainingSettings
    device: torch.device
    batch_size: int

    def share_of_errors(self, dataset: EncodedDataset, split: str, head: Head) -> ErrorSums:
        """Return the sums of the errors over this worker's share of a split; `head` says whose head correction applies."""
        parts = [_no_errors(dataset, self.settings) for _ in range(self.lane.threads)]
        count = dataset.num_samples(split)
        share = range(count)[worker_share(count, self.group.rank, self.group.size)]
        if parts[0].forecasts is not None and dataset.baselines is not None:
            parts[0].forecasts.compare_with(dataset.baselines.sums(split, share.start, share.stop).arrays())
        for start in range(share.start, share.stop, MEASURED_TOGETHER):
            numbers = np.arange(start, min(start + MEASURED_TOGETHER, share.stop))
            pieces = micro_batches(numbers, dataset.lengths(split, numbers), self.batch_size, self.lane.threads)
            self.lane.each(partial(self._add_errors, dataset, split, head, pieces, parts))
        return reduce(operator.add, parts)

    @torch.inference_mode()
    def _add_errors(
        self,
        dataset: EncodedDataset,
        split: str,
        head: Head,
        pieces: Sequence[Int64],
        parts: Sequence[ErrorSums],
        thread: int,
    ) -> None:
        """Add the errors of a thread's pieces to its part; each thread needs its own inference mode."""
        for samples in pieces[thread :: len(parts)]:
            taken = self.lane.batch(dataset, split, samples)
            owners = torch.from_numpy(head(samples)).to(self.device) if callable(head) else head
            model = self.replicas[thread].model
            outputs = forward(model, taken.inputs, taken.lengths, self.training, None, owners, taken.known)
            scales = _scales(dataset, split, samples, self.device)
            parts[thread].add(outputs, taken.targets, self.settings, scales, taken.weights)


def _no_errors(dataset: EncodedDataset, settings: ModelSettings) -> ErrorSums:
    """Return the sums of no samples of a dataset."""
    num_targets = len(dataset.prepared.targets)
    if settings.classifies:
        return ErrorSums.zero(num_targets)
    return ErrorSums.zero(num_targets, ForecastSums.zero(max(dataset.prepared.horizon, 1), num_targets, settings))


def _scales(dataset: EncodedDataset, split: str, samples: Int64, device: torch.device) -> Tensor | None:
    """Return the seasonal scale of each sample, in scaled units; None if no sample has one."""
    if dataset.baselines is None or dataset.baselines.season is None:
        return None
    return torch.from_numpy(dataset.baselines.scales(split, samples) / dataset.target_scale).to(device)


def finite_losses(
    noted: Sequence[tuple[float, float]], dataset: EncodedDataset, epoch: int, done: int, num_steps: int
) -> list[float]:
    """Return the losses of the steps after the first `done` of an epoch, from (loss, sum of loss and gradient).

    Raises NonFiniteLossError at the first sum that is not finite.
    """
    for number, (loss, total) in enumerate(noted, done + 1):
        if not math.isfinite(total):
            step = f"dataset {dataset.name!r}, epoch {epoch + 1}, step {number} of {num_steps}"
            problem = f"the loss is {loss}" + (", its gradient not finite" if math.isfinite(loss) else "")
            raise NonFiniteLossError(f"{step}: {problem}: write a lower learning_rate or a gradient_clip")
    return [loss for loss, _ in noted]


def check_finite(totals: Tensor, datasets: Sequence[EncodedDataset], split: str) -> None:
    """Raise NonFiniteLossError if the sums of a dataset (datasets, sums) are not finite."""
    for dataset, total in zip(datasets, totals, strict=True):
        # The loss alone may overflow float32 although the errors, in float64, do not.
        if not total[3:].isfinite().all() or total[2].isnan():
            raise NonFiniteLossError(
                f"dataset {dataset.name!r}, {split}: the error is not finite: write a lower learning_rate or a "
                "gradient_clip, or correct values that are too large"
            )
