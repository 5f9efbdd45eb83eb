"""Encode prepared rows for the model: scaled numbers, one-hot categories, class numbers; and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from data.prepared.baselines import Baselines
from data.prepared.batch import Batch as Batch
from data.prepared.encodings import Encoding as Encoding
from data.prepared.encodings import make_encodings as make_encodings
from data.prepared.prepared import PreparedDataset
from data.prepared.rows import renumbering, windows_of
from data.prepared.scaling import scaling_warnings
from data.samples.future import known_places

Float32 = npt.NDArray[np.float32]
Numbers = npt.NDArray[Any]  # 32 bits, or 64 where a part needs them


Gather = Callable[[str, int, npt.NDArray[np.int64]], Batch]


class EncodedDataset:
    """The samples of a prepared dataset, gathered and encoded on request; safe to share, never copied.

    `season` has the rows of a season, 0 where there is none; by default the season of the settings of `prepared`. `ahead`
    are the rows of a horizon, by default that of `prepared`. `known` are the places of known_future columns among the
    features.
    """

    def __init__(self, prepared: PreparedDataset, encoding: Encoding, season: int | None = None, ahead: int | None = None):
        self.prepared = prepared
        self.season = (prepared.settings.season_rows if season is None else season) or None
        self.encoding = encoding
        self.name = prepared.name
        kinds = [column.kind for column in prepared.columns]
        self._numbers = kinds.count("number")
        self._codes = [place for place, kind in enumerate(kinds) if kind == "code"]
        self._plain = [place for place, kind in enumerate(kinds) if kind in ("calendar", "flag")]
        self.ahead = prepared.horizon if ahead is None else ahead
        self.known = tuple(known_places(prepared.settings))  # numeric features are the first ones
        self._weight = kinds.index("weight") if "weight" in kinds else None
        width = self._numbers
        self._tiled: dict[tuple[int, np.dtype[Any]], tuple[Numbers, Numbers]] = {}  # see _tiles
        filled = (np.array(encoding.fill) - np.array(encoding.center)) / np.array(encoding.scale)
        self._filled = filled[:width].astype(np.float32)
        self._one_hot = [
            [
                renumbering(part.categories[prepared.columns[place].name], encoding.categories[prepared.columns[place].name])
                for place in self._codes
            ]
            for part in prepared.manifest.parts
        ]
        self._class_numbers = [
            renumbering(part.categories[prepared.targets[0]], encoding.classes) if prepared.classes else None
            for part in prepared.manifest.parts
        ]

    @property
    def warnings(self) -> list[str]:
        """Return the warnings about the dataset as it is prepared and scaled."""
        return [*self.prepared.manifest.warnings, *scaling_warnings(self.prepared)]

    @property
    def num_features(self) -> int:
        """Return the number of inputs at each step."""
        return self._numbers + sum(len(labels) for labels in self.encoding.categories.values()) + len(self._plain)

    @property
    def num_classes_trained(self) -> int:
        """Return how many of the classes, from the first on, the train rows may have."""
        return self._places(self.prepared.train_categories(self.prepared.targets[0]))

    @property
    def num_classes_held(self) -> int:
        """Return how many of the classes, from the first on, any of the rows may have."""
        target = self.prepared.targets[0]
        return self._places({label for part in self.prepared.manifest.parts for label in part.categories[target]})

    def _places(self, labels: Iterable[str]) -> int:
        place = {label: number for number, label in enumerate(self.encoding.classes, 1)}
        return max((place.get(label, 0) for label in labels), default=0)

    @property
    def target_scale(self) -> npt.NDArray[np.float64]:
        """Return the size of one scaled unit in each target's own unit: (targets,)."""
        return np.array(self.encoding.scale[self._numbers :])

    @cached_property
    def baselines(self) -> Baselines | None:
        """Return the naive forecasts of the samples; None where nothing is forecast."""
        return None if self.prepared.classes or self.prepared.horizon == 0 else Baselines(self.prepared, self.season)

    def num_samples(self, split: str) -> int:
        """Return how many samples a split has."""
        return self.prepared.num_samples(split)

    def lengths(self, split: str, samples: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int32]:
        """Return the rows that go in, of each sample, or of these."""
        return self.prepared.lengths(split, samples)

    def batch(self, split: str, samples: npt.NDArray[np.int64]) -> Batch:
        """Return the samples of these numbers, in this order."""
        return self._joined(split, samples, self._gather)

    @property
    def weighted(self) -> bool:
        """Return whether the samples weigh differently in the loss."""
        return bool(self.encoding.class_weights) or self._weight is not None

    def weights(self, split: str, samples: npt.NDArray[np.int64]) -> Float32:
        """Return the weights of samples: that of the class times that of the sample, of mean 1 over the train samples."""
        found = np.ones(len(samples), np.float32)
        for number, where in self.prepared.groups(split, samples) if self.weighted else []:
            starts, lengths = self.prepared.place(split, number, samples[where])
            found[where] = self._weights_at(number, starts + lengths - 1)
        return found

    def _weights_at(self, number: int, ends: npt.NDArray[np.int64]) -> Float32:
        """Return the weights of the samples of a part that end at these rows."""
        values, found = self.prepared.parts[number].values, np.ones(len(ends), np.float32)
        if self._weight is not None:
            mean = self.prepared.manifest.mean_weight
            found *= (values[ends, self._weight] / mean).astype(np.float32)
        if self.encoding.class_weights:
            known = np.array([*self.encoding.class_weights, 1.0], np.float32)  # the last one of classes that are not known
            found *= known[self._class_numbers[number][values[ends, -1].astype(np.int64)]]  # type: ignore[index]
        return found

    def inputs(self, split: str, samples: npt.NDArray[np.int64]) -> Batch:
        """Return the inputs of these samples; `targets` is (samples, 0), because those of new rows are not known."""
        return self._joined(split, samples, self._gather_inputs)

    def rows(self, number: int, start: int, stop: int) -> tuple[Float32, Float32 | npt.NDArray[np.int64]]:
        """Rows of a part as the model sees them: features (rows, features), and targets (rows, targets) or classes (rows,).

        Whatever window is cut from them, it is the one that `batch` gives: each row is encoded on its own.
        """
        values = self.prepared.parts[number].values[start:stop]
        inputs = np.ascontiguousarray(self._encode_inputs(values[:, None], number)[:, 0])
        if self.prepared.classes:
            return inputs, self._class_numbers[number][values[:, -1].astype(np.int64)]  # type: ignore[index]
        return inputs, self._scaled_targets(values[:, -len(self.prepared.targets) :])

    def _scaled_targets(self, own: Numbers) -> Float32:
        """Targets (..., targets) in scaled units, from their own: a copy."""
        targets = own - np.array(self.encoding.center[self._numbers :], own.dtype)
        targets /= np.array(self.encoding.scale[self._numbers :], own.dtype)
        return np.ascontiguousarray(targets, np.float32)

    def _joined(self, split: str, samples: npt.NDArray[np.int64], gather: Gather) -> Batch:
        groups = self.prepared.groups(split, samples)
        if len(groups) == 1:
            return gather(split, groups[0][0], samples)
        found = [(where, gather(split, number, samples[where])) for number, where in groups]
        steps = max(batch.inputs.shape[1] for _, batch in found)
        inputs = np.zeros((len(samples), steps, self.num_features), np.float32)
        lengths = np.empty(len(samples), np.int64)
        first = found[0][1].targets
        targets = np.empty((len(samples), *first.shape[1:]), first.dtype)
        for where, batch in found:
            inputs[where, : batch.inputs.shape[1]] = batch.inputs
            lengths[where], targets[where] = batch.lengths, batch.targets
        order = np.argsort(np.concatenate([where for where, _ in found]))
        weights = _ordered([batch.weights for _, batch in found], order)
        return Batch(inputs, lengths, targets, weights, _ordered([batch.known for _, batch in found], order))

    def _gather_inputs(self, split: str, number: int, samples: npt.NDArray[np.int64]) -> Batch:
        starts, lengths = self.prepared.place(split, number, samples)
        values = self.prepared.parts[number].values
        steps = int(lengths.max()) if len(lengths) else 0
        if bool((lengths == steps).all()) and steps:
            inputs = self._encode_inputs(windows_of(values, starts, steps), number)
        else:
            offsets = np.arange(steps)
            places = starts[:, None] + np.minimum(offsets, lengths[:, None] - 1)
            inputs = self._encode_inputs(values.take(places, axis=0), number)
            inputs[offsets >= lengths[:, None]] = 0.0
        known = None
        if self.known:
            ahead = self._encode_inputs(windows_of(values, starts + lengths, self.ahead), number)
            known = np.ascontiguousarray(ahead[..., list(self.known)])
        return Batch(inputs, lengths.astype(np.int64), np.empty((len(samples), 0), np.float32), known=known)

    def _gather(self, split: str, number: int, samples: npt.NDArray[np.int64]) -> Batch:
        given = self._gather_inputs(split, number, samples)
        starts, lengths = self.prepared.place(split, number, samples)
        values = self.prepared.parts[number].values
        ends = starts + lengths
        if self.weighted:
            given = replace(given, weights=self._weights_at(number, ends - 1))
        if self.prepared.classes:
            codes = values[ends - 1, -1].astype(np.int64)
            return replace(given, targets=self._class_numbers[number][codes])  # type: ignore[index]
        # Never a `take` from some of the columns: that copies them for all rows first.
        horizon, width = self.prepared.horizon, len(self.prepared.targets)
        ahead = windows_of(values, ends, horizon) if horizon else values[ends - 1][:, None]
        return replace(given, targets=self._scaled_targets(ahead[..., -width:]))

    def _encode_inputs(self, rows: Numbers, number: int) -> Float32:
        steps = rows.shape[1]
        # All steps of a window side by side, each with its columns: long inner loops, a third of the time of short ones.
        numbers = np.ascontiguousarray(rows[..., : self._numbers])
        side_by_side = numbers.reshape(len(rows), steps * self._numbers)  # a view
        center, scale = self._tiles(steps, rows.dtype)
        side_by_side -= center
        side_by_side /= scale
        numbers = numbers.astype(np.float32, copy=False)
        if self.prepared.manifest.parts[number].holes:
            numbers = np.where(np.isnan(numbers), self._filled, numbers)
        columns = [numbers]
        for place, numbers_of in zip(self._codes, self._one_hot[number], strict=True):
            labels = self.encoding.categories[self.prepared.columns[place].name]
            chosen = numbers_of[rows[..., place].astype(np.int64)]
            columns.append((chosen[..., None] == np.arange(len(labels))).astype(np.float32))
        if self._plain:
            columns.append(rows[..., self._plain].astype(np.float32, copy=False))
        return numbers if len(columns) == 1 else np.concatenate(columns, axis=-1)

    def _tiles(self, steps: int, bits: np.dtype[Any]) -> tuple[Numbers, Numbers]:
        """Center and scale of the numeric features, once for each step: kept for the next batch of as many steps."""
        tiles = self._tiled.get((steps, bits))
        if tiles is None:  # threads of other lengths may put theirs in place meanwhile
            width = self._numbers
            center, scale = np.array(self.encoding.center[:width], bits), np.array(self.encoding.scale[:width], bits)
            tiles = np.tile(center, steps), np.tile(scale, steps)
            self._tiled = {(steps, bits): tiles}
        return tiles


def _ordered(parts: Sequence[Float32 | None], order: npt.NDArray[np.intp]) -> Float32 | None:
    """Return what all parts have, one after the other, in this order; None where there is none."""
    there = [part for part in parts if part is not None]
    return np.concatenate(there)[order] if there else None
