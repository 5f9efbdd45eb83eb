"""Train from a notebook or a script: arrays, frames or a recipe in, a result that displays itself and predicts out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.connect import connected, disconnect, set_environment
from data.errors import InputError
from data.prepared.arrays import ArrayDataset
from models.loss_table import LOSSES
from models.settings import ModelSettings
from workflows.loggers.notebook_line import OneLine
from workflows.python import frame_datasets
from workflows.python.array_datasets import check_pairs, check_share, document_of, labels_of, prepare_pairs, split_validation
from workflows.python.frame_datasets import check_frames, holds_frames, labels_in, prepare_frames
from workflows.python.habits import unknown_key
from workflows.python.result import Result
from workflows.recipe.datasets import decay_problems
from workflows.recipe.recipe import SECTIONS, Recipe, check_recipe, find_recipe, load_recipe
from workflows.relay.events import Preparing
from workflows.report.attached import with_page
from workflows.results.events import Watch
from workflows.results.trained import open_run
from workflows.store.store import Store
from workflows.training.run import train as train_recipe
from workflows.training.run import train_prepared

Pair = tuple[Any, Any]
ARRAY_KEYS = ("scaling", "scaling_scope")  # keys of [data] that arrays do not decide


def train(
    data: Any,
    *,
    validation: Sequence[Pair | None] | Mapping[str, Pair] | None = None,
    validation_split: float | None = None,
    dataset: str | None = None,
    storage: str | Path = "runs",
    workers: int | None = None,
    address: str | None = None,
    watch: Watch | None = None,
    **keys: Any,
) -> Result:
    """Train on datasets in sequence; epochs in the storage are reused.

    Args:
        data: a list of (X, y), or {name: (X, y)}: X is (samples, steps, features), or a list of (steps, features) of
            different lengths; y is (samples, targets), or one class a sample as integers or strings. Or frames of
            pandas, polars or Arrow in long format: {name: frame}, or one frame with a column that names the
            datasets. Or a recipe: the path of a TOML file, the name of a built-in one, its document as a dict, or a Recipe.
        validation: pairs of the same kind, in the same order or by the same names; arrays only.
        validation_split: the share of each dataset's last samples (frames: rows) for validation, as in Keras.
        dataset: the column of a frame that names the datasets; default: the column `dataset`, if there is one.
        storage: folder or address of prepared data, checkpoints and runs.
        workers: data-parallel workers; 0: this process, the default for arrays and frames.
        address: a Ray cluster.
        watch: function that is called with each event of the run; default: one line of progress.
        keys: `name`, `seed`, and any key of the recipe's sections: `epochs=5, hidden_size=64, method="replay"`, or a
            section as a whole: `retention={"method": "replay"}`. Arrays are scaled only with `scaling`. The keys of [data]
            name the columns of frames; ds, unique_id and y are the default time, series and target.

    Raises InputError with all problems, before anything is written.
    """
    set_environment()
    store, was_connected = Store(str(storage)), connected()
    watch = with_page(watch or OneLine(), store.address)
    try:
        frames = holds_frames(data)
        if dataset is not None and not frames:
            raise InputError(f"train: dataset = {dataset!r} names a column of a frame, but data is not a frame")
        if not frames and _is_recipe(data):
            if validation_split is not None:
                raise InputError("train: validation_split goes with arrays and frames: write split=[0.7, 0.1, 0.2]")
            recipe = _find_recipe(data, keys, validation)
            train_recipe(recipe, storage, None, workers, address, watch)
            return Result(store.address, open_run(store, recipe.name), {})
        if workers is not None:
            keys = {**keys, "num_workers": workers}
        if frames:
            return _train_frames(data, dataset, validation, validation_split, store, address, watch, keys)
        if validation_split is not None:
            data, validation = split_validation(data, validation, validation_split)
        return _train_arrays(data, validation, store, address, watch, keys)
    finally:
        if not was_connected:
            disconnect()


def load(name: str, storage: str | Path = "runs") -> Result:
    """Return the result of a trained run, from Python or the command line; raises InputError if it does not exist.

    Classes that were integers come back as text.
    """
    store = Store(str(storage))
    return Result(store.address, open_run(store, name), {})


def _is_recipe(data: Any) -> bool:
    if isinstance(data, Mapping):
        listed = data.get("datasets")
        return isinstance(data.get("data"), Mapping) or (
            isinstance(listed, Sequence) and all(isinstance(each, Mapping) for each in listed)
        )
    return isinstance(data, (str, Path, Recipe))


def _find_recipe(data: Any, keys: Mapping[str, Any], validation: object) -> Recipe:
    if validation is not None:
        raise InputError("validation goes with arrays; the validation part of a recipe is set by split")
    sections, problems = sort_keys(keys, SECTIONS)
    if isinstance(data, Mapping):
        document, folder, label = dict(data), Path.cwd(), "recipe"
    else:
        recipe = data if isinstance(data, Recipe) else load_recipe(find_recipe(str(data)))
        document, folder, label = dict(recipe.document), recipe.folder, recipe.name
    for name, values in sections.items():
        before = document.get(name, {})
        document[name] = {**before, **values} if isinstance(values, dict) and isinstance(before, dict) else values
    try:
        recipe = check_recipe(document, folder, label)
    except InputError as error:
        problems += error.messages
    if problems:
        raise InputError(problems)
    return recipe


def sort_keys(keys: Mapping[str, Any], allowed: Sequence[str] | Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Sort keyword arguments into the parts of a recipe's document; also returns the problems of their names."""
    owners = {key: section for section in reversed(list(allowed)) for key in SECTIONS[section].model_fields}
    document: dict[str, Any] = {}
    problems = []
    for key, value in keys.items():
        if key in ("name", "seed"):
            document[key] = value
        elif key in allowed:
            document[key] = {**document.get(key, {}), **value} if isinstance(value, Mapping) else value
        elif key in owners:
            document.setdefault(owners[key], {})[key] = value
        else:
            problems.append(unknown_key(key, [*owners, *allowed, "name", "seed"]))
    return document, problems


def _train_arrays(
    data: Any, validation: Any, store: Store, address: str | None, watch: Watch, keys: Mapping[str, Any]
) -> Result:
    started = time.perf_counter()
    of_data = {key: keys[key] for key in ARRAY_KEYS if key in keys}
    rest = {key: value for key, value in keys.items() if key not in ARRAY_KEYS}
    sections, problems = sort_keys(rest, [name for name in SECTIONS if name not in ("data", "search")])
    compute = sections.get("compute", {})
    if isinstance(compute, dict):
        sections["compute"] = {"num_workers": 0, **compute}
    arrays: list[ArrayDataset] = []
    try:
        arrays = check_pairs(data, validation, _takes_classes(sections))
    except InputError as error:
        problems += error.messages
    try:
        recipe = check_recipe({**document_of(arrays, of_data), **sections}, Path.cwd(), "train")
        problems += decay_problems(recipe.training.decay_rate, len(arrays)) if arrays else []
    except InputError as error:
        problems += error.messages
    if problems:
        raise InputError(dict.fromkeys(problems))
    watch(Preparing(recipe.name))
    prepared = prepare_pairs(arrays, recipe, store.address, started)
    train_prepared(recipe, prepared, store, recipe.name, address, watch)
    return Result(store.address, open_run(store, recipe.name), labels_of(data) if arrays[0].source.classes else {})


def _train_frames(
    data: Any,
    column: str | None,
    validation: Any,
    validation_split: float | None,
    store: Store,
    address: str | None,
    watch: Watch,
    keys: Mapping[str, Any],
) -> Result:
    started = time.perf_counter()
    sections, problems = sort_keys(keys, [name for name in SECTIONS if name != "search"])
    data_section = sections.pop("data", {})
    of_data = dict(data_section) if isinstance(data_section, Mapping) else {}
    sections["compute"] = {"num_workers": 0, **sections.get("compute", {})}
    if validation is not None:
        problems.append("train: validation goes with arrays; frames are split by time: write split=[0.7, 0.1, 0.2]")
    if validation_split is not None:
        if "split" in of_data:
            problems.append("train: split and validation_split both set the validation part: write one of them")
        share = check_share(validation_split)
        of_data["split"] = [1.0 - share, share, 0.0]
    if problems:
        raise InputError(dict.fromkeys(problems))
    frames = check_frames(data, column, of_data)
    recipe = check_recipe({**frame_datasets.document_of(frames, of_data), **sections}, Path.cwd(), "train")
    problems = decay_problems(recipe.training.decay_rate, len(frames.datasets))
    if problems:
        raise InputError(problems)
    watch(Preparing(recipe.name))
    prepared = prepare_frames(frames, recipe, store.address, started)
    train_prepared(recipe, prepared, store, recipe.name, address, watch)
    classes = recipe.model.classifies
    labels = labels_in(frames, recipe.entries[0].settings.targets[0]) if classes else {}
    return Result(store.address, open_run(store, recipe.name), labels)


def _takes_classes(sections: Mapping[str, Any]) -> bool | None:
    """Return whether the loss is for classes; None without a valid loss, which the recipe's check reports."""
    model = sections.get("model", {})
    loss = model.get("loss", ModelSettings.model_fields["loss"].default) if isinstance(model, Mapping) else None
    return LOSSES[loss].for_classes if loss in LOSSES else None
