"""Replay: samples of earlier datasets, kept in a small memory and mixed into each batch of a later one.

Experience replay as in Chaudhry et al. 2019 (On Tiny Episodic Memories in Continual Learning): the memory of each dataset
holds train samples from all of it. Replayed samples are balanced over the earlier datasets, each of which weighs
`strength` times as much in a step as the new one, however few samples it has. The memory holds sample numbers,
not copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.prepared.encoding import Batch, EncodedDataset

Int64 = npt.NDArray[np.int64]
MEMORY_STREAM, REPLAY_STREAM = 1, 2  # separate random streams


@dataclass(frozen=True)
class Replay:
    """The replay of a stage: the earlier datasets, the samples kept of each, how many are mixed in, and their weight."""

    datasets: Sequence[EncodedDataset]
    kept: Sequence[Int64]
    share: float
    strength: float
    replaces: bool = False  # replayed samples take the place of new ones, instead of being added to them

    def weight(self, new: int, old: int) -> float:
        """Return the weight of each replayed sample in a step with `new` and `old` samples, relative to a new one.

        The replayed samples of a step together weigh `strength` times the new ones for each earlier dataset, whatever
        their rounded count.
        """
        return self.strength * len(self.kept) * new / old if old else 0.0

    def draw(self, batch_sizes: Sequence[int], seed: tuple[int, int, int]) -> list[tuple[Int64, Int64]]:
        """Return for each batch the indices of earlier datasets, rising, and the samples to replay: both (count,).

        With a batch of B samples share * B are replayed, at least one; if they replace new ones, at most B - 1. Over the
        epoch each earlier dataset is replayed equally often, to within one, and so is each of its kept samples. `seed` is
        (seed, stage, epoch).
        """
        random = np.random.default_rng((*seed, REPLAY_STREAM))
        counts = self.counts(batch_sizes, self.share, self.replaces) if self.kept else [0] * len(batch_sizes)
        owners = _in_turns(np.arange(len(self.kept)), sum(counts), random)
        samples = np.empty(len(owners), np.int64)
        for index, kept in enumerate(self.kept):
            owned = np.flatnonzero(owners == index)
            samples[owned] = _in_turns(kept, len(owned), random)
        ends = np.cumsum(counts)
        pieces = [np.arange(end - count, end) for end, count in zip(ends, counts, strict=True)]
        pieces = [piece[np.argsort(owners[piece], kind="stable")] for piece in pieces]
        return [(owners[piece], samples[piece]) for piece in pieces]

    @staticmethod
    def counts(batch_sizes: Sequence[int], share: float, replaces: bool) -> list[int]:
        """Return the number of samples that are replayed with each batch."""
        most = [size - 1 if replaces else size * 5 for size in batch_sizes]  # a share is at most 4
        return [min(max(round(size * share), 1), limit) for size, limit in zip(batch_sizes, most, strict=True)]

    def new_samples(self, batch: Int64, num_replayed: int) -> Int64:
        """Return the new samples of a batch, without those that replayed samples replace."""
        return batch[: len(batch) - num_replayed] if self.replaces else batch

    def batches(self, owners: Int64, samples: Int64) -> list[Batch]:
        """Return the samples as the model takes them, a batch of each earlier dataset, in the order of `draw`."""
        return [self.datasets[index].batch("train", samples[owners == index]) for index in np.unique(owners)]


NOTHING_TO_REPLAY = Replay((), (), 0.0, 0.0)


def kept_samples(count: int, memory: int | float, seed: tuple[int, int]) -> Int64:
    """Return the samples kept of a dataset of `count`: `memory` of them, or that share; seed (seed, stage).

    One is drawn from each of `memory` stretches of equal length (to within one), so that they represent the whole
    dataset: neighbouring windows share most of their rows.
    """
    size = min(memory if isinstance(memory, int) else max(int(memory * count), 1), count)
    random = np.random.default_rng((*seed, MEMORY_STREAM))
    edges = np.arange(size + 1) * count // max(size, 1)
    return random.integers(edges[:-1], edges[1:])


def _in_turns(values: Int64, count: int, random: np.random.Generator) -> Int64:
    """Return `count` of the values, in rounds that each bring all of them in a new order."""
    rounds = [random.permutation(values) for _ in range(-(-count // max(len(values), 1)))]
    return np.concatenate([np.empty(0, np.int64), *rounds])[:count].astype(np.int64)


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Concatenate batches, padded at the end to the longest."""
    if len(batches) == 1:
        return batches[0]
    steps = max(batch.inputs.shape[1] for batch in batches)
    inputs = np.zeros((sum(len(b.lengths) for b in batches), steps, batches[0].inputs.shape[2]), np.float32)
    row = 0
    for batch in batches:
        inputs[row : row + len(batch.lengths), : batch.inputs.shape[1]] = batch.inputs
        row += len(batch.lengths)
    lengths = np.concatenate([batch.lengths for batch in batches])
    weights = [np.ones(len(b.lengths), np.float32) if b.weights is None else b.weights for b in batches]
    weighted = any(batch.weights is not None for batch in batches)
    targets = np.concatenate([batch.targets for batch in batches])
    known_parts = [batch.known for batch in batches if batch.known is not None]
    joined_known = np.concatenate(known_parts) if known_parts else None
    return Batch(inputs, lengths, targets, np.concatenate(weights) if weighted else None, joined_known)
