"""Prepare arrays in memory: the (X, y) of a usual training loop, without files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from data.errors import InputError
from data.prepared.finish import finish
from data.prepared.labels import as_array, check_targets
from data.prepared.manifest import FORMAT, MANIFEST, put_in_place, scratch_folder
from data.prepared.prepared import PreparedDataset
from data.reading.settings import DatasetSource, DataSettings, Scaling
from data.samples.counts import Counts
from data.samples.part_writer import write_part
from data.samples.series import Series

Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Samples:
    """Checked X and y: (steps, features) for each sample, and (samples, targets) numbers or (samples,) class labels."""

    inputs: list[npt.NDArray[np.float32]]
    labels: npt.NDArray[Any]

    @property
    def classes(self) -> bool:
        """Return whether the labels are classes."""
        return self.labels.ndim == 1

    def describe(self) -> str:
        """Return the properties that train and validation must share."""
        what = "classes" if self.classes else f"{self.labels.shape[1]} targets"
        return f"{self.inputs[0].shape[1]} features and {what}"


@dataclass(frozen=True)
class ArrayDataset:
    """Checked arrays: the dataset's settings, and its samples by split."""

    source: DatasetSource
    splits: dict[str, Samples]


def check_arrays(
    name: str,
    inputs: Any,
    targets: Any,
    validation: Pair | None = None,
    scaling: Scaling = "none",
    classes: bool | None = None,
) -> ArrayDataset:
    """Return the dataset of X and y; sample i of X becomes train sample i.

    `inputs` (X) is (samples, steps, features), or a list of (steps, features) of different lengths; NaN is a missing
    value, interpolated inside its sample. `targets` (y) is (samples, targets); one number each as (samples,) floats; or
    one class each as (samples,) integers or strings; `classes` says what the loss needs (see check_targets).
    `validation` is an (X, y) of the same kind. `scaling` is fitted on the train samples. Raises InputError with all
    problems.
    """
    if scaling not in get_args(Scaling):
        raise InputError(f"dataset {name!r}: scaling = {scaling!r}: write one of {', '.join(get_args(Scaling))}")
    pairs = {"train": (inputs, targets)} | ({} if validation is None else {"validation": validation})
    checked, problems = {}, []
    for split, pair in pairs.items():
        try:
            checked[split] = _check(
                f"dataset {name!r}" if split == "train" else f"dataset {name!r}, {split}", *pair, classes
            )
        except InputError as error:
            problems += error.messages
    if problems:
        raise InputError(problems)
    kinds = [samples.describe() for samples in checked.values()]
    if len(set(kinds)) > 1:
        raise InputError(f"dataset {name!r}: train has {kinds[0]}, validation {kinds[1]}: give both the same")
    return ArrayDataset(_source_of(name, checked, scaling), checked)


def write_arrays(arrays: ArrayDataset, folder: Path) -> PreparedDataset:
    """Write the prepared dataset into `folder` and return it; an existing one is not written again."""
    source = arrays.source
    home = folder / _address(source, arrays.splits)
    if not (home / MANIFEST).exists():
        with scratch_folder(folder) as scratch:
            parts = [
                write_part(_series_of(samples, source), source, scratch, number, split)
                for number, (split, samples) in enumerate(arrays.splits.items())
            ]
            problems = finish(source, parts, scratch, home.name)
            if problems:
                raise InputError(problems)
            put_in_place(scratch, home)
    return PreparedDataset(home, source.name, source.settings)


def _check(label: str, inputs: Any, targets: Any, classes: bool | None) -> Samples:
    samples = Samples(check_inputs(label, inputs), check_targets(label, targets, classes))
    if len(samples.inputs) != len(samples.labels):
        raise InputError(
            f"{label}: X has {len(samples.inputs)} samples, y has {len(samples.labels)}: give one row of y for each of X"
        )
    return samples


def check_inputs(label: str, inputs: Any) -> list[npt.NDArray[np.float32]]:
    """Return one (steps, features) array for each sample of X; raises InputError with messages that begin with `label`."""
    wanted = "write (samples, steps, features), or a list of (steps, features)"
    if not isinstance(inputs, (list, tuple)):
        inputs = as_array(inputs)
        if inputs.dtype.kind != "O" and inputs.ndim != 3:
            raise InputError(f"{label}: X has the shape {inputs.shape}: {wanted}")
    samples = [_array(f"{label}: sample {number} of X", sample, wanted) for number, sample in enumerate(inputs)]
    if not samples:
        raise InputError(f"{label}: X is empty: {wanted}")
    for number, sample in enumerate(samples):
        if sample.ndim != 2 or 0 in sample.shape or sample.shape[1] != samples[0].shape[1]:
            also = f" and sample 0 {samples[0].shape}" if number else ""
            raise InputError(
                f"{label}: sample {number} of X has the shape {sample.shape}{also}: {wanted}, at least one "
                "step and the same features in all"
            )
        if np.isinf(sample).any():
            raise InputError(
                f"{label}: sample {number} of X holds {sample[np.isinf(sample)][0]}: correct it, or write NaN where the "
                "value is missing (32-bit numbers end at 3.4e38)"
            )
    return samples


def _array(what: str, values: Any, wanted: str) -> npt.NDArray[np.float32]:
    try:
        array = as_array(values)
    except ValueError:  # of lists of different lengths
        raise InputError(f"{what} has no shape, its rows have different lengths: {wanted}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} holds {array.dtype}, not numbers: {wanted}")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _source_of(name: str, splits: dict[str, Samples], scaling: Scaling) -> DatasetSource:
    samples = splits["train"]
    train = len(samples.inputs) / sum(len(each.inputs) for each in splits.values())
    settings = DataSettings(
        features=[f"x{index}" for index in range(samples.inputs[0].shape[1])],
        targets=["y0"] if samples.classes else [f"y{index}" for index in range(samples.labels.shape[1])],
        series="sample",
        split=[train, 1.0 - train, 0.0],
        split_by="series",
        lookback="all",
        horizon=0,
        scaling=scaling,
    )
    return DatasetSource(name, (), settings, classes=samples.classes)


def _series_of(samples: Samples, source: DatasetSource) -> list[Series]:
    """Return a series for each sample, in order; the target is at the last row, so that each series is one sample."""
    series = []
    for number, (rows, label) in enumerate(zip(samples.inputs, samples.labels, strict=True)):
        name, counts = f"{number:09d}", Counts(rows_read=len(rows))
        if samples.classes:
            column = np.full(len(rows), None, object)
            column[-1] = str(label)
            series.append(Series(name, rows, {source.settings.targets[0]: column}, None, counts=counts))
        else:
            targets = np.full((len(rows), len(label)), np.nan, np.float32)
            targets[-1] = label
            series.append(Series(name, np.concatenate([rows, targets], axis=1), {}, None, counts=counts))
    return series


def _address(source: DatasetSource, splits: dict[str, Samples]) -> str:
    """Return the hash of arrays and settings, which decide the prepared samples; scaling is not part of it."""
    facts = {
        "format": FORMAT,
        "settings": source.settings.decisive(),
        "lengths": {split: [len(rows) for rows in samples.inputs] for split, samples in splits.items()},
        "classes": {split: samples.labels.tolist() for split, samples in splits.items() if samples.classes},
    }
    digest = hashlib.sha256(b"arrays" + json.dumps(facts, sort_keys=True).encode())
    for samples in splits.values():
        for array in samples.inputs if samples.classes else [*samples.inputs, samples.labels]:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]
