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
from data.samples.future import known_indices

Float32 = npt.NDArray[np.float32]
Numbers = npt.NDArray[Any]  # 32 bits, or 64 where a part needs them


Gather = Callable[[str, int, npt.NDArray[np.int64]], Batch]


class EncodedDataset:
    """The samples of a prepared dataset, gathered and encoded on request; safe to share, never copied.

    `season` has the rows of a season, 0 without one; default the season in the settings of `prepared`. `ahead` are the rows
    of a horizon, default that of `prepared`. `known` are the indices of known_future columns among the features.
    """

    def __init__(self, prepared: PreparedDataset, encoding: Encoding, season: int | None = None, ahead: int | None = None):
        self.prepared = prepared
        self.season = (prepared.settings.season_rows if season is None else season) or None
        self.encoding = encoding
        self.name = prepared.name
        kinds = [column.kind for column in prepared.columns]
        self._numbers = kinds.count("number")
        self._codes = [index for index, kind in enumerate(kinds) if kind == "code"]
        self._plain = [index for index, kind in enumerate(kinds) if kind in ("calendar", "flag")]
        self.ahead = prepared.horizon if ahead is None else ahead
        self.known = tuple(known_indices(prepared.settings))  # numeric features are the first ones
        self._weight = kinds.index("weight") if "weight" in kinds else None
        width = self._numbers
        self._tiled: dict[tuple[int, np.dtype[Any]], tuple[Numbers, Numbers]] = {}  # see _tiles
        filled = (np.array(encoding.fill) - np.array(encoding.center)) / np.array(encoding.scale)
        self._filled = filled[:width].astype(np.float32)
        self._one_hot = [
            [
                renumbering(part.categories[prepared.columns[index].name], encoding.categories[prepared.columns[index].name])
                for index in self._codes
            ]
            for part in prepared.manifest.parts
        ]
        self._class_numbers = [
            renumbering(part.categories[prepared.targets[0]], encoding.classes) if prepared.classes else None
            for part in prepared.manifest.parts
        ]

    @property
    def warnings(self) -> list[str]:
        """Return the warnings about the prepared and scaled dataset."""
        return [*self.prepared.manifest.warnings, *scaling_warnings(self.prepared)]

    @property
    def num_features(self) -> int:
        """Return the number of inputs at each step."""
        return self._numbers + sum(len(labels) for labels in self.encoding.categories.values()) + len(self._plain)

    @property
    def num_classes_trained(self) -> int:
        """Return the number of the last class that the train rows have, counted from 1."""
        return self._last_class_number(self.prepared.train_categories(self.prepared.targets[0]))

    @property
    def num_classes_present(self) -> int:
        """Return the number of the last class that any row has, counted from 1."""
        target = self.prepared.targets[0]
        return self._last_class_number({label for part in self.prepared.manifest.parts for label in part.categories[target]})

    def _last_class_number(self, labels: Iterable[str]) -> int:
        number_of = {label: number for number, label in enumerate(self.encoding.classes, 1)}
        return max((number_of.get(label, 0) for label in labels), default=0)

    @property
    def target_scale(self) -> npt.NDArray[np.float64]:
        """Return the size of one scaled unit in each target's own unit: (targets,)."""
        return np.array(self.encoding.scale[self._numbers :])

    @cached_property
    def baselines(self) -> Baselines | None:
        """Return the naive forecasts of the samples; None without a forecast."""
        return None if self.prepared.classes or self.prepared.horizon == 0 else Baselines(self.prepared, self.season)

    def num_samples(self, split: str) -> int:
        """Return how many samples a split has."""
        return self.prepared.num_samples(split)

    def lengths(self, split: str, samples: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int32]:
        """Return the input rows of each sample, or of these samples."""
        return self.prepared.lengths(split, samples)

    def batch(self, split: str, samples: npt.NDArray[np.int64]) -> Batch:
        """Return the samples of these numbers, in this order."""
        return self._join(split, samples, self._gather)

    @property
    def weighted(self) -> bool:
        """Return whether the samples weigh differently in the loss."""
        return bool(self.encoding.class_weights) or self._weight is not None

    def weights(self, split: str, samples: npt.NDArray[np.int64]) -> Float32:
        """Return the weights of samples: class weight times sample weight, with mean 1 over the train samples."""
        weights = np.ones(len(samples), np.float32)
        for number, where in self.prepared.groups(split, samples) if self.weighted else []:
            starts, lengths = self.prepared.locate(split, number, samples[where])
            weights[where] = self._weights_at(number, starts + lengths - 1)
        return weights

    def _weights_at(self, number: int, ends: npt.NDArray[np.int64]) -> Float32:
        """Return the weights of the samples of a part that end at these rows."""
        values, weights = self.prepared.parts[number].values, np.ones(len(ends), np.float32)
        if self._weight is not None:
            mean = self.prepared.manifest.mean_weight
            weights *= (values[ends, self._weight] / mean).astype(np.float32)
        if self.encoding.class_weights:
            known = np.array([*self.encoding.class_weights, 1.0], np.float32)  # the last one is for unknown classes
            weights *= known[self._class_numbers[number][values[ends, -1].astype(np.int64)]]  # type: ignore[index]
        return weights

    def inputs(self, split: str, samples: npt.NDArray[np.int64]) -> Batch:
        """Return the inputs of these samples; `targets` is (samples, 0), because targets of new rows are unknown."""
        return self._join(split, samples, self._gather_inputs)

    def rows(self, number: int, start: int, stop: int) -> tuple[Float32, Float32 | npt.NDArray[np.int64]]:
        """Return encoded rows of a part: features (rows, features), and targets (rows, targets) or classes (rows,).

        A window cut from them equals the one from `batch`, because each row is encoded by itself.
        """
        values = self.prepared.parts[number].values[start:stop]
        inputs = np.ascontiguousarray(self._encode_inputs(values[:, None], number)[:, 0])
        if self.prepared.classes:
            return inputs, self._class_numbers[number][values[:, -1].astype(np.int64)]  # type: ignore[index]
        return inputs, self._scaled_targets(values[:, -len(self.prepared.targets) :])

    def _scaled_targets(self, values: Numbers) -> Float32:
        """Return a copy of targets (..., targets) in scaled units."""
        targets = values - np.array(self.encoding.center[self._numbers :], values.dtype)
        targets /= np.array(self.encoding.scale[self._numbers :], values.dtype)
        return np.ascontiguousarray(targets, np.float32)

    def _join(self, split: str, samples: npt.NDArray[np.int64], gather: Gather) -> Batch:
        groups = self.prepared.groups(split, samples)
        if len(groups) == 1:
            return gather(split, groups[0][0], samples)
        batches = [(where, gather(split, number, samples[where])) for number, where in groups]
        steps = max(batch.inputs.shape[1] for _, batch in batches)
        inputs = np.zeros((len(samples), steps, self.num_features), np.float32)
        lengths = np.empty(len(samples), np.int64)
        first = batches[0][1].targets
        targets = np.empty((len(samples), *first.shape[1:]), first.dtype)
        for where, batch in batches:
            inputs[where, : batch.inputs.shape[1]] = batch.inputs
            lengths[where], targets[where] = batch.lengths, batch.targets
        order = np.argsort(np.concatenate([where for where, _ in batches]))
        weights = _concatenate_in_order([batch.weights for _, batch in batches], order)
        return Batch(inputs, lengths, targets, weights, _concatenate_in_order([batch.known for _, batch in batches], order))

    def _gather_inputs(self, split: str, number: int, samples: npt.NDArray[np.int64]) -> Batch:
        starts, lengths = self.prepared.locate(split, number, samples)
        values = self.prepared.parts[number].values
        steps = int(lengths.max()) if len(lengths) else 0
        if bool((lengths == steps).all()) and steps:
            inputs = self._encode_inputs(windows_of(values, starts, steps), number)
        else:
            offsets = np.arange(steps)
            rows = starts[:, None] + np.minimum(offsets, lengths[:, None] - 1)
            inputs = self._encode_inputs(values.take(rows, axis=0), number)
            inputs[offsets >= lengths[:, None]] = 0.0
        known = None
        if self.known:
            ahead = self._encode_inputs(windows_of(values, starts + lengths, self.ahead), number)
            known = np.ascontiguousarray(ahead[..., list(self.known)])
        return Batch(inputs, lengths.astype(np.int64), np.empty((len(samples), 0), np.float32), known=known)

    def _gather(self, split: str, number: int, samples: npt.NDArray[np.int64]) -> Batch:
        batch = self._gather_inputs(split, number, samples)
        starts, lengths = self.prepared.locate(split, number, samples)
        values = self.prepared.parts[number].values
        ends = starts + lengths
        if self.weighted:
            batch = replace(batch, weights=self._weights_at(number, ends - 1))
        if self.prepared.classes:
            codes = values[ends - 1, -1].astype(np.int64)
            return replace(batch, targets=self._class_numbers[number][codes])  # type: ignore[index]
        # No `take` from a subset of the columns: that copies them for all rows first.
        horizon, width = self.prepared.horizon, len(self.prepared.targets)
        ahead = windows_of(values, ends, horizon) if horizon else values[ends - 1][:, None]
        return replace(batch, targets=self._scaled_targets(ahead[..., -width:]))

    def _encode_inputs(self, rows: Numbers, number: int) -> Float32:
        steps = rows.shape[1]
        # All steps of a window in one row, each with its columns: long inner loops take a third of the time.
        numbers = np.ascontiguousarray(rows[..., : self._numbers])
        side_by_side = numbers.reshape(len(rows), steps * self._numbers)  # a view
        center, scale = self._tiles(steps, rows.dtype)
        side_by_side -= center
        side_by_side /= scale
        numbers = numbers.astype(np.float32, copy=False)
        if self.prepared.manifest.parts[number].holes:
            numbers = np.where(np.isnan(numbers), self._filled, numbers)
        columns = [numbers]
        for column, numbers_of in zip(self._codes, self._one_hot[number], strict=True):
            labels = self.encoding.categories[self.prepared.columns[column].name]
            chosen = numbers_of[rows[..., column].astype(np.int64)]
            columns.append((chosen[..., None] == np.arange(len(labels))).astype(np.float32))
        if self._plain:
            columns.append(rows[..., self._plain].astype(np.float32, copy=False))
        return numbers if len(columns) == 1 else np.concatenate(columns, axis=-1)

    def _tiles(self, steps: int, bits: np.dtype[Any]) -> tuple[Numbers, Numbers]:
        """Return center and scale of the numeric features, repeated for each step; cached for batches of as many steps."""
        tiles = self._tiled.get((steps, bits))
        if tiles is None:  # threads with other lengths may replace it meanwhile
            width = self._numbers
            center, scale = np.array(self.encoding.center[:width], bits), np.array(self.encoding.scale[:width], bits)
            tiles = np.tile(center, steps), np.tile(scale, steps)
            self._tiled = {(steps, bits): tiles}
        return tiles


def _concatenate_in_order(parts: Sequence[Float32 | None], order: npt.NDArray[np.intp]) -> Float32 | None:
    """Return the arrays of all parts, concatenated, in this order; None if no part has one."""
    arrays = [part for part in parts if part is not None]
    return np.concatenate(arrays)[order] if arrays else None
