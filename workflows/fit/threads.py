"""Split the samples of a step over the threads of a process, each with a copy of the model.

Inside an LSTM layer torch's threads synchronise at every time step; threads with their own samples never do. On two cores
a layer of 64 units (96 steps) ran 9,800 windows a second in two halves of 16, 7,000 as 32 with two threads inside the
layer, and 6,300 with one; with halves of 32 it was 11,700 against 8,000 and 6,800 (forward and backward, no optimizer).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from data.prepared.allocator import share_freed_memory
from models.lstm import LSTM
from workflows.fit.gradients import gradients_in_one


@dataclass(frozen=True)
class Replica:
    """A model; `sums` holds its gradients and the loss; see gradients_in_one."""

    model: LSTM
    sums: Tensor


def replicas(model: LSTM, sums: Tensor, count: int) -> list[Replica]:
    """Return the model with its own sums, and `count` - 1 copies that share its weights, each with its own sums.

    They follow the weights as long as these are changed in place.
    """
    return [Replica(model, sums), *(_copy_of(model) for _ in range(count - 1))]


def add_up(copies: Sequence[Replica]) -> None:
    """Add all gradients and losses to the first replica's, always in the same order."""
    for replica in copies[1:]:
        copies[0].sums.add_(replica.sums)


def _copy_of(model: LSTM) -> Replica:
    shared = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in model.parameters()}
    replica = copy.deepcopy(model, shared)  # parameters in the memo are shared, not copied
    return Replica(replica, gradients_in_one([p for p in replica.parameters() if p.requires_grad], torch.device("cpu")))


class Threads:
    """The calling thread and `count` - 1 others; in each of the others torch uses one core."""

    def __init__(self, count: int):
        self.count = count
        self._others = None
        if count > 1:
            share_freed_memory()
            self._others = ThreadPoolExecutor(count - 1, "lstm-relay-fit", torch.set_num_threads, (1,))

    def run(self, work: Callable[[int], None]) -> None:
        """Run `work` with 0, 1, ... `count` - 1 in parallel; raises the first error after all have ended."""
        others = [] if self._others is None else [self._others.submit(work, n) for n in range(1, self.count)]
        try:
            work(0)
        finally:
            failed = [error for other in others if (error := other.exception()) is not None]
        if failed:
            raise failed[0]
