"""Joint training, with which a sequence is compared: the samples of several datasets shuffled together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from data.prepared.encoding import Batch, EncodedDataset
from workflows.fit.replay import concatenate, kept_samples


class Joint:
    """Several datasets as one, with the methods that `fit_epoch` calls on a dataset.

    `samples` are the samples of each dataset that are trained on.
    """

    def __init__(self, datasets: list[EncodedDataset], samples: list[npt.NDArray[np.int64]]):
        self.name, self.datasets = "joint", datasets
        self.owner = np.repeat(np.arange(len(datasets)), [len(chosen) for chosen in samples])
        self.own_number = np.concatenate(samples)
        pairs = zip(datasets, samples, strict=True)
        self.steps = np.concatenate([dataset.lengths("train")[chosen] for dataset, chosen in pairs])

    @staticmethod
    def of_all(datasets: list[EncodedDataset], _memory: float, _seed: int) -> Joint:
        """Join all samples of all datasets."""
        return Joint(datasets, [np.arange(dataset.num_samples("train")) for dataset in datasets])

    @staticmethod
    def of_what_is_left(datasets: list[EncodedDataset], memory: float, seed: int) -> Joint:
        """Join the last dataset with the memory of each before it, which is repeated until all count the same."""
        counts = [dataset.num_samples("train") for dataset in datasets]
        kept = [kept_samples(count, memory, (seed, index)) for index, count in enumerate(counts[:-1])]
        return Joint(datasets, [*(np.resize(samples, counts[-1]) for samples in kept), np.arange(counts[-1])])

    def owners(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the dataset of each sample, which decides on the correction of the head."""
        return self.owner[samples]

    def num_samples(self, _split: str) -> int:
        return len(self.owner)

    def lengths(self, _split: str, samples: Any = None) -> Any:
        return self.steps if samples is None else self.steps[samples]

    def batch(self, split: str, samples: Any) -> Batch:
        order = np.argsort(self.owner[samples], kind="stable")
        owners, numbers = self.owner[samples][order], self.own_number[samples][order]
        together = concatenate([self.datasets[o].batch(split, numbers[owners == o]) for o in np.unique(owners)])
        back = np.argsort(order)
        return Batch(together.inputs[back], together.lengths[back], together.targets[back])
