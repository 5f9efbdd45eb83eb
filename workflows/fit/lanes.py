"""The differences between devices: where the rows are, and whether steps are recorded (device_lane.py).

The learner is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from data.prepared.encoding import Batch, EncodedDataset
from models.lstm import LSTM
from workflows.fit.gradients import only_heads
from workflows.fit.replay import concatenate
from workflows.fit.retention import Retention
from workflows.fit.steps import Int64, Piece, Step
from workflows.fit.taken import Taken, taken
from workflows.fit.threads import Replica, Threads

Masks = Callable[[Step], Tensor | None]
GATHERED = 128  # samples of the same length that steps gather together


def head_owners(step: Step, owners: Int64) -> Tensor | int:
    """Return the dataset of a step's head corrections: one for all samples, or one for each."""
    return step.head if isinstance(step.head, int) and not len(step.old) else torch.from_numpy(owners)


class Lane(Protocol):
    """How the steps of an epoch get their samples and run, on one device."""

    steps_together: int  # steps loaded together, and whose losses are read together
    threads: int  # threads of this process that share the samples of a step

    def new_optimizer(self, parameters: list[torch.nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
        """Return AdamW; with weight decay 0 it equals Adam to the bit."""

    def forget(self) -> None:
        """Note that the optimizer or the weights have been replaced."""

    def open(self, dataset: EncodedDataset, retention: Retention, masks: Masks, heads: Sequence[int] = ()) -> None:
        """Start an epoch; `heads` are the datasets with a head correction."""

    def load(self, steps: Sequence[Step], rates: Sequence[float]) -> None:
        """Load the samples of the next steps."""

    def run(self, step: Step, part: str, work: Callable[[], None]) -> None:
        """Run a part of a step: `work` launches the same kernels for all steps of the same kind."""

    def between(self, work: Callable[[], object]) -> None:
        """Run work that is not recorded, in order with the parts of the steps."""

    def each_piece(self, copies: Sequence[Replica], work: Callable[[Replica, Taken], None]) -> None:
        """Run `work` on each piece of the current step with its thread's copy of the model; only inside `run`."""

    def each(self, work: Callable[[int], None]) -> None:
        """Run `work` on each thread, with its number."""

    def end_step(self, optimizer: torch.optim.Optimizer, loss: Tensor, total: Tensor) -> None:
        """Note the step's loss and the sum of loss and gradient, and set its rate; only inside `run`."""

    def optimize(self, optimizer: torch.optim.Optimizer, model: LSTM, step: Step) -> None:
        """Step along the gradient, without head corrections that have no sample; only inside `run`, at its end."""

    def rate_of(self, optimizer: torch.optim.Optimizer) -> float:
        """Return the learning rate that the optimizer used last."""

    def read(self, everything: bool) -> list[tuple[float, float]]:
        """Return the losses and sums noted since the last call, those of the last loaded steps only with `everything`."""

    def batch(self, dataset: EncodedDataset, split: str, samples: Int64) -> Taken:
        """Return samples for an evaluation."""


class HostLane:
    """Rows stay memory-mapped; a few steps gather their samples together."""

    steps_together = 8

    def __init__(self, device: torch.device, threads: int = 1):
        self.device, self.threads = device, threads
        self.each = Threads(threads).run
        self.noted: list[tuple[float, float]] = []

    def new_optimizer(self, parameters: list[torch.nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
        """See Lane."""
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)

    def forget(self) -> None:
        """See Lane."""

    def open(self, dataset: EncodedDataset, retention: Retention, masks: Masks, heads: Sequence[int] = ()) -> None:  # noqa: ARG002
        """See Lane."""
        self.dataset, self.replay, self.masks = dataset, retention.replay, masks
        self.noted.clear()

    def load(self, steps: Sequence[Step], rates: Sequence[float]) -> None:
        """See Lane."""
        self.steps = dict(zip((step.number for step in steps), zip(steps, rates, strict=True), strict=True))
        self.gathered: dict[int, list[Batch | None]] = {}

    def run(self, step: Step, part: str, work: Callable[[], None]) -> None:  # noqa: ARG002 every step at once
        """See Lane."""
        self.step, self.rate = self.steps[step.number]
        work()

    def between(self, work: Callable[[], object]) -> None:
        """See Lane."""
        work()

    def each_piece(self, copies: Sequence[Replica], work: Callable[[Replica, Taken], None]) -> None:
        """See Lane."""
        step, masks = self.step, self.masks(self.step)
        masks = None if masks is None else masks[step.mask_rows]
        owners, slices, gathered = step.piece_owners, step.piece_slices, self._gathered()

        def on_thread(number: int) -> None:
            for piece, rows, new in zip(step.pieces, slices, gathered, strict=True):
                if piece.thread == number:
                    piece_masks = None if masks is None else masks[rows]
                    piece_owners = None if owners is None else head_owners(step, owners[rows])
                    work(copies[number], self._taken(piece, new, piece_masks, piece_owners))

        self.each(on_thread)

    def _gathered(self) -> list[Batch | None]:
        """Return the new samples of each piece if they are gathered together, else None for each.

        Python runs one thread at a time: two threads with 16 windows each take 0.6 ms, 32 at once 0.3 ms, 128 0.5 ms.
        """
        step = self.step
        if step.number not in self.gathered:
            steps = self._next_steps()
            wanted = [step.batch[piece.new] for step in steps for piece in step.pieces]
            if not steps or not wanted:
                return [None] * len(step.pieces)
            together = self.dataset.batch("train", np.concatenate(wanted))
            ends = np.cumsum([0, *map(len, wanted)]).tolist()
            batches = iter([together.samples(slice(start, end)) for start, end in pairwise(ends)])
            self.gathered = {each.number: list(islice(batches, len(each.pieces))) for each in steps}
        return self.gathered[step.number]

    def _next_steps(self) -> list[Step]:
        """Return the current step and the next ones that gather their new samples together.

        Empty if there are so many samples that each piece gathers its own, or if some need padding.
        """
        steps, count = [], 0
        for step, _ in self.steps.values():
            if step.number < self.step.number:
                continue
            count += sum(len(piece.new) for piece in step.pieces)
            first = step.number == self.step.number
            if not step.uniform or (count > GATHERED and not (first and self.threads > 1)):
                break
            steps.append(step)
        return steps

    def _taken(self, piece: Piece, new: Batch | None, masks: Tensor | None, owners: Tensor | int | None) -> Taken:
        """Return the samples of a piece; `new` are the new ones if they are gathered already."""
        step = self.step
        new = new or self.dataset.batch("train", step.batch[piece.new])
        old = self.replay.batches(step.owners[piece.replayed], step.old[piece.replayed])
        return taken(concatenate([new, *old]), len(piece.new), masks, self.device, owners)

    def end_step(self, optimizer: torch.optim.Optimizer, loss: Tensor, total: Tensor) -> None:
        """See Lane."""
        self.noted.append((float(loss), float(total)))
        for group in optimizer.param_groups:
            group["lr"] = self.rate

    def optimize(self, optimizer: torch.optim.Optimizer, model: LSTM, step: Step) -> None:
        """See Lane."""
        with only_heads(model, step.heads):
            optimizer.step()

    def rate_of(self, optimizer: torch.optim.Optimizer) -> float:
        """See Lane."""
        return float(optimizer.param_groups[0]["lr"])

    def read(self, everything: bool) -> list[tuple[float, float]]:  # noqa: ARG002 every step has ended
        """See Lane."""
        losses, self.noted = self.noted, []
        return losses

    def batch(self, dataset: EncodedDataset, split: str, samples: Int64) -> Taken:
        """See Lane."""
        return taken(dataset.batch(split, samples), len(samples), None, self.device)
