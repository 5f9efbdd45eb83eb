"""Several datasets as one, with their samples shuffled together, for joint training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from data.prepared.encoding import Batch, EncodedDataset
from workflows.fit.replay import concatenate

Int64 = npt.NDArray[np.int64]


class Joint(EncodedDataset):
    """A dataset of several datasets; samples are numbered by dataset, then as in each.

    Errors in units have no meaning over several datasets: they are given in units of the first one.
    """

    def __init__(self, datasets: Sequence[EncodedDataset]):
        super().__init__(datasets[0].prepared, datasets[0].encoding)
        self.name, self.datasets = "joint", list(datasets)
        self.baselines = None  # samples of several datasets have no units, and no season in common

    @property
    def weighted(self) -> bool:
        """Return whether the samples weigh differently in the loss."""
        return any(dataset.weighted for dataset in self.datasets)

    def _offsets(self, split: str) -> Int64:
        counts = [dataset.num_samples(split) for dataset in self.datasets]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def owners(self, split: str) -> Callable[[Int64], Int64]:
        """Return a function from samples of a split to the datasets of their head corrections."""
        offsets = self._offsets(split)
        return lambda samples: np.searchsorted(offsets, samples, side="right") - 1

    def num_samples(self, split: str) -> int:
        """Return how many samples all datasets have."""
        return int(self._offsets(split)[-1])

    def lengths(self, split: str, samples: Int64 | None = None) -> npt.NDArray[np.int32]:
        """Return the input rows of all samples, or of these."""
        every = np.concatenate([dataset.lengths(split) for dataset in self.datasets])
        return every if samples is None else every[samples]

    def batch(self, split: str, samples: Int64) -> Batch:
        """Return the samples as the model takes them, in this order."""
        owners = self.owners(split)(samples)
        order = np.argsort(owners, kind="stable")
        numbers = (samples - self._offsets(split)[owners])[order]
        together = concatenate([self.datasets[o].batch(split, numbers[owners[order] == o]) for o in np.unique(owners)])
        back = np.argsort(order)
        weights, known = (None if each is None else each[back] for each in (together.weights, together.known))
        return Batch(together.inputs[back], together.lengths[back], together.targets[back], weights, known)
