"""Datasets whose rows live on a device: encoded and copied there once, their windows gathered there by index."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.prepared.encoding import EncodedDataset
from workflows.fit.steps import Int64, Step
from workflows.fit.taken import Taken, pinned

LENGTH_BUCKETS = 8  # windows of different lengths are padded to one of 8 lengths, so that few shapes are recorded
ROWS_AT_ONCE = 1 << 20  # rows encoded and copied at a time


def resident_bytes(dataset: EncodedDataset) -> int:
    """Return the bytes of a dataset's rows on a device."""
    rows = sum(len(part.values) for part in dataset.prepared.parts)
    width = 2 if dataset.prepared.classes else len(dataset.prepared.targets)
    return 4 * rows * (dataset.num_features + width)


class Rows:
    """Rows of datasets, one after the other: inputs (rows, features), targets (rows, targets) or classes (rows,)."""

    def __init__(self, device: torch.device):
        self.device = device
        self.inputs: Tensor | None = None
        self.targets: Tensor | None = None
        self.first: dict[EncodedDataset, list[int]] = {}  # the first row of each part
        self.version = 0  # raised when rows move

    @property
    def num_bytes(self) -> int:
        """Return the bytes of the rows."""
        return sum(each.numel() * each.element_size() for each in (self.inputs, self.targets) if each is not None)

    @torch.inference_mode(mode=False)  # rows added by an evaluation may be trained on later
    def add(self, dataset: EncodedDataset) -> None:
        """Add a dataset's rows if they are missing."""
        if dataset in self.first:
            return
        inputs, targets, first = [self.inputs], [self.targets], []
        row = 0 if self.inputs is None else len(self.inputs)
        for number, part in enumerate(dataset.prepared.parts):
            first.append(row)
            row += len(part.values)
            for start in range(0, len(part.values), ROWS_AT_ONCE):
                encoded = dataset.rows(number, start, min(start + ROWS_AT_ONCE, len(part.values)))
                inputs.append(torch.from_numpy(encoded[0]).to(self.device))
                targets.append(torch.from_numpy(encoded[1]).to(self.device))
        self.inputs = torch.cat([each for each in inputs if each is not None])
        self.targets = torch.cat([each for each in targets if each is not None])
        self.first[dataset] = first
        self.version += 1

    def keep(self, datasets: Sequence[EncodedDataset]) -> None:
        """Drop all datasets, and add these."""
        self.inputs = self.targets = None
        self.first = {}
        for dataset in datasets:
            self.add(dataset)


class Buckets:
    """A few lengths that samples of different lengths are padded to, so that few shapes are recorded."""

    def __init__(self, lengths: npt.NDArray[np.int32]):
        self.longest = int(lengths.max(initial=1))
        self.uniform = len(lengths) == 0 or int(lengths.min()) == self.longest
        self.edges = np.unique(-(-self.longest * np.arange(1, LENGTH_BUCKETS + 1) // LENGTH_BUCKETS))

    def steps(self, lengths: npt.NDArray[np.integer]) -> int:
        """Return the steps that samples are padded to: their longest, rounded up to the next bucket."""
        return self.longest if self.uniform else int(self.edges[np.searchsorted(self.edges, lengths.max(initial=1))])


class Samples:
    """The samples of a split of some resident datasets, numbered across them in order."""

    @torch.inference_mode(mode=False)
    def __init__(self, rows: Rows, datasets: Sequence[EncodedDataset], split: str):
        self.of = (rows.version, *datasets, split)
        assert rows.inputs is not None
        assert rows.targets is not None
        self.inputs, self.targets = rows.inputs, rows.targets
        self.horizon, self.classes = datasets[0].prepared.horizon, datasets[0].prepared.classes
        counts = [dataset.num_samples(split) for dataset in datasets]
        self.offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        starts = [
            part.samples[split].starts + first
            for dataset in datasets
            for part, first in zip(dataset.prepared.parts, rows.first[dataset], strict=True)
        ]
        self.lengths = np.concatenate([dataset.lengths(split) for dataset in datasets])
        self.buckets = Buckets(self.lengths)
        self.device_starts = torch.from_numpy(np.concatenate(starts)).to(rows.device)
        self.device_lengths = torch.from_numpy(self.lengths.astype(np.int64)).to(rows.device)
        self.device_weights = None
        if any(dataset.weighted for dataset in datasets):
            weights = [dataset.weights(split, np.arange(count)) for dataset, count in zip(datasets, counts, strict=True)]
            self.device_weights = torch.from_numpy(np.concatenate(weights)).to(rows.device)
        self.known_columns = torch.tensor(datasets[0].known, dtype=torch.int64, device=rows.device)
        self.step_offsets = torch.arange(max(self.buckets.longest, self.horizon), device=rows.device)

    def steps(self, numbers: Int64) -> int:
        """Return the steps that samples are padded to."""
        return self.buckets.longest if self.buckets.uniform else self.buckets.steps(self.lengths[numbers])

    def take(self, numbers: Tensor, steps: int, num_new: int) -> Taken:
        """Return the samples of these numbers, padded to `steps`, without waiting for the device."""
        starts, offsets = self.device_starts[numbers], self.step_offsets
        if self.buckets.uniform:
            lengths, ends = None, starts + steps
            columns = self.inputs.shape[1]
            # Each window is contiguous memory: windows overlap in a view, and whole ones are copied.
            windows = self.inputs.as_strided((max(len(self.inputs) - steps + 1, 0), steps, columns), (columns, columns, 1))
            inputs = windows.index_select(0, starts)
        else:
            lengths = self.device_lengths[numbers]
            ends, valid = starts + lengths, offsets[:steps] < lengths[:, None]
            inputs = self.inputs[starts[:, None] + torch.minimum(offsets[:steps], lengths[:, None] - 1)]
            inputs = torch.where(valid[..., None], inputs, 0.0)
        weights = None if self.device_weights is None else self.device_weights[numbers]
        if self.classes:
            return Taken(inputs, lengths, self.targets[ends - 1], num_new, weights=weights)
        ahead = ends[:, None] + offsets[: self.horizon] if self.horizon else ends[:, None] - 1
        known = self.inputs[ahead].index_select(2, self.known_columns) if len(self.known_columns) else None
        return Taken(inputs, lengths, self.targets[ahead], num_new, weights=weights, known=known)


class Resident:
    """The samples of an epoch's steps, gathered on the device from resident rows."""

    def __init__(self, device: torch.device, memory_bytes: int):
        self.device, self.memory_bytes = device, memory_bytes
        self.rows = Rows(device)
        self.numbers = torch.zeros(0, 0, dtype=torch.int64, device=device)  # of the samples of each loaded step
        self.samples: Samples | None = None
        self.evaluated: Samples | None = None
        self.shapes: dict[int, tuple[tuple[int, int, int], ...]] = {}
        self.shape: tuple[tuple[int, int, int], ...] = ()  # new and replayed samples and steps of each piece of the step

    def fit(self, datasets: Sequence[EncodedDataset]) -> bool:
        """Return whether the rows of some datasets fit on the device together."""
        return sum(resident_bytes(each) for each in set(datasets)) <= self.memory_bytes

    def open(self, datasets: Sequence[EncodedDataset]) -> bool:
        """Start an epoch of the first dataset, replaying the others; returns whether anything moved.

        If they do not fit beside the resident rows, those are dropped.
        """
        if not all(self._add(dataset) for dataset in datasets):
            self.rows.keep(datasets)
        if self.samples is not None and self.samples.of == (self.rows.version, *datasets, "train"):
            return False
        self.samples = Samples(self.rows, datasets, "train")
        return True

    def _add(self, dataset: EncodedDataset) -> bool:
        """Make a dataset's rows resident, if they fit."""
        if dataset not in self.rows.first:
            if self.rows.num_bytes + resident_bytes(dataset) > self.memory_bytes:
                return False
            self.rows.add(dataset)
        return True

    def load(self, steps: Sequence[Step]) -> bool:
        """Send the sample numbers of some steps; returns whether they have moved in memory."""
        assert self.samples is not None
        rows: list[Int64] = []
        self.shapes.clear()
        for step in steps:
            numbers, shape = [np.empty(0, np.int64)], []
            for piece in step.pieces:
                new, old = step.batch[piece.new], step.old[piece.replayed]
                both = np.concatenate([new, self.samples.offsets[step.owners[piece.replayed] + 1] + old])
                numbers.append(both)
                shape.append((len(new), len(old), self.samples.steps(both)))
            rows.append(np.concatenate(numbers))
            self.shapes[step.number] = tuple(shape)
        width = max(map(len, rows), default=0)
        table = np.zeros((len(rows), width), np.int64)
        for step_row, row in enumerate(rows):
            table[step_row, : len(row)] = row
        moved = self.numbers.shape[1] < width or len(self.numbers) < len(rows)
        if moved:
            self.numbers = torch.zeros(len(rows), width, dtype=torch.int64, device=self.device)
        self.numbers[: len(rows), :width].copy_(pinned(torch.from_numpy(table), self.device), non_blocking=True)
        return moved

    def begin(self, step: Step) -> Hashable:
        """Return the shape of a step and make its samples the next ones."""
        self.shape = self.shapes[step.number]
        return self.shape

    def pieces(self, position: Tensor) -> Iterator[Taken]:
        """Return the samples of the step at a position (1,) among those loaded."""
        assert self.samples is not None
        numbers, start = self.numbers.index_select(0, position)[0], 0
        for num_new, num_replayed, steps in self.shape:
            count = num_new + num_replayed
            yield self.samples.take(numbers[start : start + count], steps, num_new)
            start += count

    def batch(self, dataset: EncodedDataset, split: str, samples: Int64) -> Taken | None:
        """Return samples of a split for an evaluation; None if the dataset does not fit."""
        if not self._add(dataset):
            return None
        if self.evaluated is None or self.evaluated.of != (self.rows.version, dataset, split):
            self.evaluated = Samples(self.rows, [dataset], split)
        numbers = pinned(torch.from_numpy(samples), self.device).to(self.device, non_blocking=True)
        return self.evaluated.take(numbers, self.evaluated.steps(samples), len(samples))
