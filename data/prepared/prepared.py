"""A prepared dataset: memory-mapped rows, the positions of its samples, and its manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.prepared.manifest import MANIFEST as MANIFEST
from data.prepared.manifest import Manifest
from data.prepared.part_files import PartFiles, part_names
from data.reading.settings import SPLITS, DataSettings
from data.samples.part_files import samples_in
from data.samples.spans import Listed, Spans
from data.samples.statistics import Statistics
from data.signed import read_signed, signed
from data.writing import write_whole

TRIES = 2  # further attempts to open a file that another process removes from the cache meanwhile


class MappedPart:
    """The rows (rows, columns) and samples of a part, as views into mapped files.

    Each file is fetched, checked and mapped when it is first needed, and stays mapped.
    """

    def __init__(self, files: PartFiles, number: int):
        self._files, self._names = files, part_names(number)

    @cached_property
    def values(self) -> npt.NDArray[Any]:
        """Return the rows."""
        column = _map_file(self._files, self._names[0]).get_batch(0).column(0)
        values = column.values.to_numpy(zero_copy_only=True)
        return np.asarray(values.reshape(-1, column.type.list_size))

    @cached_property
    def samples(self) -> dict[str, Listed | Spans]:
        """Return the positions of the samples of each split."""
        batches = _map_file(self._files, self._names[1])
        return {split: samples_in(batches.get_batch(index)) for index, split in enumerate(SPLITS)}

    def ends(self, split: str) -> npt.NDArray[np.int64]:
        """Return the row after the last input row of each sample."""
        return self.samples[split].starts + self.samples[split].lengths


class PreparedDataset:
    """A folder that `prepare` wrote; its files are memory-mapped, and all processes of a node share the pages.

    `name` and `settings` belong to the recipe that uses it; the defaults are those it was prepared with, with the default
    scaling. Samples of a split are numbered 0 .. num_samples(split) - 1, by part, then by series, then by time.
    """

    def __init__(self, folder: Path, name: str | None = None, settings: DataSettings | None = None):
        self.folder = folder
        self.manifest = Manifest.read(folder)
        self.name = name or self.manifest.name
        self.settings = settings or DataSettings.model_validate(self.manifest.settings)
        self.columns = self.manifest.columns
        self.targets = self.manifest.targets
        self.horizon = self.manifest.horizon
        self.classes = self.manifest.classes

    @property
    def statistics(self) -> Statistics:
        """Return the statistics of the numeric features and targets over the train rows, in the order of `columns`."""
        return self.manifest.statistics

    @cached_property
    def parts(self) -> Sequence[MappedPart]:
        """Return the parts; their files are fetched, checked and mapped when needed."""
        return Parts(self.files, len(self.manifest.parts))

    @cached_property
    def files(self) -> PartFiles:
        """Return the files of the parts."""
        return PartFiles(self.folder, self.manifest.parts)

    @cached_property
    def _offsets(self) -> dict[str, npt.NDArray[np.int64]]:
        counts = {split: [part.samples[split] for part in self.manifest.parts] for split in SPLITS}
        return {split: np.concatenate([[0], np.cumsum(counts[split])]).astype(np.int64) for split in SPLITS}

    def train_categories(self, column: str) -> list[str]:
        """Return the labels of a column in the train rows, sorted."""
        return sorted({label for part in self.manifest.parts for label in part.train_categories[column]})

    def train_rows(self) -> npt.NDArray[Any]:
        """Return a copy of the numeric columns (features, then targets) of all train rows; gaps in features are filled."""
        numeric = [index for index, column in enumerate(self.columns) if column.kind in ("number", "target")]
        spans = [
            part.values[start:stop, numeric]
            for part, facts in zip(self.parts, self.manifest.parts, strict=True)
            for start, stop in facts.train_spans
        ]
        return np.concatenate(spans)

    @cached_property
    def quartiles(self) -> npt.NDArray[np.float64]:
        """Return the quartiles of the numeric columns over the train rows: (3, columns).

        Computed when first needed and cached beside the manifest, so that a change of scaling prepares nothing again.
        """
        path = self.folder / "quartiles.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            quartiles = np.array(read_signed(path.read_bytes(), required=True)["quartiles"], np.float64)
            return quartiles.reshape(3, -1)
        values = quartiles_of([self])
        with contextlib.suppress(OSError):  # in a read-only folder they are computed each time
            write_whole(path, signed({"quartiles": values.tolist()}))
        return values

    def num_samples(self, split: str) -> int:
        """Return how many samples a split has."""
        return self.manifest.samples[split]

    def lengths(self, split: str, samples: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int32]:
        """Return the input rows of each sample, or of these samples."""
        if samples is None:
            lengths_of_parts = [part.samples[split].lengths for part in self._parts_with(split)]
            return np.concatenate([np.empty(0, np.int32), *lengths_of_parts])
        lengths = np.empty(len(samples), np.int32)
        for number, where in self.groups(split, samples):
            lengths[where] = self.locate(split, number, samples[where])[1]
        return lengths

    def _parts_with(self, split: str) -> list[MappedPart]:
        """Return the parts that have samples of a split, so that no other part is fetched."""
        pairs = zip(self.parts, self.manifest.parts, strict=True)
        return [part for part, facts in pairs if facts.samples[split]]

    @property
    def train_bytes(self) -> int:
        """Return the size of the train rows, on disk and in memory."""
        return sum(
            part.bits // 8 * len(self.columns) * (stop - start)
            for part in self.manifest.parts
            for start, stop in part.train_spans
        )

    def groups(self, split: str, samples: npt.NDArray[np.int64]) -> list[tuple[int, npt.NDArray[np.intp]]]:
        """Return the positions in `samples` of the samples of each part."""
        if len(self.parts) == 1 or not len(samples):
            return [(0, np.arange(len(samples)))]
        part = np.searchsorted(self._offsets[split], samples, side="right") - 1
        return [(int(number), np.flatnonzero(part == number)) for number in np.unique(part)]

    def locate(
        self, split: str, number: int, samples: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Return the first row in part `number` and the length of samples that all belong to it."""
        local = samples - self._offsets[split][number]
        return self.parts[number].samples[split].at(local)

    def target_rows(self, split: str) -> npt.NDArray[Any]:
        """Return the label of every sample of a split with horizon 0, before encoding: (samples, targets)."""
        rows = [part.values[part.ends(split) - 1, -len(self.targets) :] for part in self._parts_with(split)]
        return np.concatenate(rows) if rows else np.empty((0, len(self.targets)), np.float32)

    def sample_weights(self, split: str) -> npt.NDArray[np.float64]:
        """Return the weight of every sample of a split, as in the file; 1 without a weight column."""
        kinds = [column.kind for column in self.columns]
        if "weight" not in kinds:
            return np.ones(self.num_samples(split))
        rows = [part.values[part.ends(split) - 1, kinds.index("weight")] for part in self._parts_with(split)]
        return np.concatenate([np.empty(0), *rows])

    def target_labels(self, split: str) -> list[str]:
        """Return the class of every sample of a split."""
        labels = []
        for part, facts in zip(self.parts, self.manifest.parts, strict=True):
            names = facts.categories[self.targets[0]]
            codes = part.values[part.ends(split) - 1, -1].astype(np.int64)
            labels += [names[code] for code in codes]
        return labels


def quartiles_of(datasets: Sequence[PreparedDataset]) -> npt.NDArray[np.float64]:
    """Return the quartiles of the numeric columns over the train rows of several datasets: (3, columns)."""
    rows = np.concatenate([each.train_rows() for each in datasets])
    quartiles = np.zeros((3, rows.shape[1]))
    seen = ~np.isnan(rows).all(axis=0)  # an optional column may have no values
    quartiles[:, seen] = np.nanquantile(rows[:, seen], [0.25, 0.5, 0.75], axis=0)
    return quartiles


class Parts(Sequence[MappedPart]):
    """The parts of a dataset, mapped one by one."""

    def __init__(self, files: PartFiles, count: int):
        self._files, self._mapped = files, dict[int, MappedPart]()
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> MappedPart: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[MappedPart]: ...

    def __getitem__(self, number: int | slice) -> MappedPart | Sequence[MappedPart]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(self._count))]
        number = range(self._count)[number]
        if number not in self._mapped:
            self._mapped[number] = MappedPart(self._files, number)
        return self._mapped[number]


def _map_file(files: PartFiles, name: str) -> pa.ipc.RecordBatchFileReader:
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError):
            return pa.ipc.open_file(pa.memory_map(str(files.open(name))))
    return pa.ipc.open_file(pa.memory_map(str(files.open(name))))
