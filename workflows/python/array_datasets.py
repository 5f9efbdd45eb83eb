"""Pairs (X, y) in memory as the datasets of a recipe: checked, described as a document, prepared without Ray."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import InputError
from data.prepared.arrays import ArrayDataset, check_arrays, write_arrays
from data.prepared.cache import PreparedCache
from data.prepared.class_weights import with_class_weights
from data.prepared.encoding import EncodedDataset, make_encodings
from data.prepared.labels import labels_by_text
from workflows.prepare.preparation import Prepared
from workflows.recipe.recipe import Recipe, name_problems


def check_pairs(data: Any, validation: Any, classes: bool | None = None) -> list[ArrayDataset]:
    """Return the arrays of all datasets, each checked, checked for consistency with the others and with the loss."""
    pairs = _named(data, "data")
    validation_pairs = {} if validation is None else _named(validation, "validation", list(pairs))
    problems = [
        f"validation has {name!r}, data have {', '.join(pairs)}: write the same names"
        for name in validation_pairs.keys() - pairs
    ]
    problems += [f"dataset {problem}" for name in pairs for problem in name_problems(name)]
    arrays = []
    for name, pair in pairs.items():
        try:
            inputs, targets = _pair(name, pair)
            validation_pair = (
                None if validation_pairs.get(name) is None else _pair(f"{name}, validation", validation_pairs[name])
            )
            arrays.append(check_arrays(name, inputs, targets, validation_pair, classes=classes))
        except InputError as error:
            problems += error.messages
    kinds = {each.source.name: each.splits["train"].describe() for each in arrays}
    first = next(iter(kinds), "")
    problems += [
        f"dataset {name!r} has {kind}, {first!r} {kinds[first]}: all datasets of a model need the same"
        for name, kind in kinds.items()
        if kind != kinds[first]
    ]
    if problems:
        raise InputError(problems)
    return arrays


def _named(pairs: Any, what: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    if isinstance(pairs, Mapping) and pairs:
        return {str(name): pair for name, pair in pairs.items()}
    if not isinstance(pairs, (list, tuple)) or not pairs:
        raise InputError(f"{what} is {type(pairs).__name__}: write a list of (X, y), or {{name: (X, y)}}")
    if names is not None and len(names) != len(pairs):
        raise InputError(f"{what} has {len(pairs)} pairs, data {len(names)}: write one for each dataset, or None")
    return dict(zip(names or [f"dataset_{number}" for number in range(1, len(pairs) + 1)], pairs, strict=True))


def _pair(name: str, pair: Any) -> tuple[Any, Any]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise InputError(
            f"dataset {name!r} is {type(pair).__name__}, not a pair: write a list of (X, y), or {{name: (X, y)}}"
        )
    return pair[0], pair[1]


def check_share(value: Any) -> float:
    """Return a validation_split; raises InputError unless it leaves two parts."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1:
        raise InputError(f"train: validation_split = {value!r}: write a share above 0 and below 1, such as 0.2")
    return float(value)


def split_validation(data: Any, validation: Any, share: Any) -> tuple[Any, Any]:
    """Return the first samples of each pair, and its last `share` of samples for validation, as in Keras."""
    share = check_share(share)
    if validation is not None:
        raise InputError("train: validation and validation_split both set the validation part: write one of them")
    pairs = {name: _pair(name, pair) for name, pair in _named(data, "data").items()}
    first, last = {}, {}
    for name, (inputs, targets) in pairs.items():
        border = int(len(inputs) * (1 - share))
        if not 0 < border < len(inputs):
            raise InputError(f"dataset {name!r}: validation_split = {share} of {len(inputs)} samples leaves one part empty")
        first[name], last[name] = (inputs[:border], targets[:border]), (inputs[border:], targets[border:])
    return first, last


def document_of(arrays: Sequence[ArrayDataset], of_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a recipe for the arrays."""
    if not arrays:
        stand_in = {"features": ["x0"], "targets": ["y0"], "lookback": 1, "horizon": 0}
        return {"data": {**stand_in, **of_data}, "datasets": [{"name": "dataset_1", "path": "memory://dataset_1"}]}
    settings = {each.source.name: each.source.settings.model_dump(mode="json") for each in arrays}
    first = next(iter(settings.values()))
    common = {key: first[key] for key in ("features", "targets", "series", "split_by", "lookback", "horizon", "scaling")}
    datasets = [{"name": name, "path": f"memory://{name}", "split": each["split"]} for name, each in settings.items()]
    return {"data": {**common, **of_data}, "datasets": datasets}


def prepare_pairs(arrays: Sequence[ArrayDataset], recipe: Recipe, storage: str, started: float) -> Prepared:
    """Prepare the datasets of a recipe from document_of in this process; datasets prepared before are not written again."""
    prepared_cache = PreparedCache(storage)
    settings = [entry.settings for entry in recipe.entries]
    with_settings = [
        dataclasses.replace(dataset, source=dataclasses.replace(dataset.source, settings=setting))
        for dataset, setting in zip(arrays, settings, strict=True)
    ]
    written = [write_arrays(dataset, prepared_cache.folder) for dataset in with_settings]
    for dataset in written:
        prepared_cache.keep(dataset.folder.name)
    encodings = make_encodings(written, settings, recipe.model.classes == "all")
    encodings = with_class_weights(encodings, written, recipe.model.class_weights)
    datasets = [EncodedDataset(dataset, encoding) for dataset, encoding in zip(written, encodings, strict=True)]
    epochs = [recipe.training.epochs] * len(datasets)
    return Prepared(datasets, [dataset.source for dataset in with_settings], epochs, time.perf_counter() - started)


def labels_of(data: Any) -> dict[str, Any]:
    """Return the user's classes of all pairs by their text."""
    pairs = data.values() if isinstance(data, Mapping) else data
    return {text: label for _, y in pairs for text, label in labels_by_text(y).items()}
