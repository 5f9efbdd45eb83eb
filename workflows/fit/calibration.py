"""Measure how long a step takes with a number of threads, on a throwaway model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from data.prepared.encoding import EncodedDataset
from workflows.fit.learner import Learner
from workflows.fit.retention import NO_RETENTION
from workflows.fit.steps import batches_of, no_part, steps_of

ROUNDS = 25  # the fastest counts: other processes only make a step slower; few rounds measure them
LIMIT_S = 1.5  # no further round begins after this


def seconds_a_step(
    learner_of: Callable[[int], Learner], dataset: EncodedDataset, kinds: Sequence[tuple[int, int]]
) -> list[float]:
    """Return the seconds of a step for each (threads, samples), measured in turn; torch's thread count is restored.

    `learner_of` makes a learner with a number of threads.
    """
    before, started = torch.get_num_threads(), time.perf_counter()
    fastest = [float("inf")] * len(kinds)
    learners = {threads: learner_of(threads) for threads, _ in kinds}
    torch.set_num_threads(1)
    try:
        for number in range(ROUNDS + 1):  # the first warms up
            if number > 1 and time.perf_counter() - started > LIMIT_S:
                break
            for index, (threads, samples) in enumerate(kinds):
                seconds = _step(learners[threads], dataset, samples)
                fastest[index] = min(fastest[index], seconds if number else float("inf"))
    finally:
        torch.set_num_threads(before)
    return fastest


def _step(learner: Learner, dataset: EncodedDataset, samples: int) -> float:
    no_samples = np.empty(0, np.int64)
    _, batches, lengths_of = batches_of(dataset, learner.training.model_copy(update={"batch_size": samples}), (0, 0, 0), 0)
    step = next(
        steps_of(
            batches,
            iter([(no_samples, no_samples)]),
            lengths_of,
            learner.micro_batch,
            learner.group,
            no_part,
            None,
            learner.lane.threads,
        )
    )
    learner.model.train()
    learner.lane.open(dataset, NO_RETENTION, lambda step: None)
    started = time.perf_counter()
    learner.lane.load([step], [1e-6])
    learner.do(step, NO_RETENTION)
    learner.lane.read(everything=True)
    return time.perf_counter() - started
