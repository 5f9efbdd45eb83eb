"""Extend a finished run by one new dataset; everything else is unchanged.

The files of earlier datasets are not needed: their prepared rows and every state are in the store.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.prepared.class_weights import with_class_weights
from data.prepared.encoding import EncodedDataset, Encoding, make_encodings
from data.prepared.prepared import PreparedDataset
from data.reading.files import absolute
from data.reading.settings import DatasetSource
from workflows.prepare.preparation import Prepared
from workflows.recipe.overrides import override
from workflows.recipe.recipe import Recipe, check_recipe
from workflows.relay.events import Preparing
from workflows.relay.plan import Plan
from workflows.results.events import Watch, ignore
from workflows.results.run_result import RunResult
from workflows.results.trained import TrainedRun, open_run, plan_of
from workflows.store.run_record import mend_copies
from workflows.store.store import Store
from workflows.training.preparing import prepare_on
from workflows.training.run import train_prepared

Prepare = Callable[[Recipe], tuple[PreparedDataset, DatasetSource]]


@dataclasses.dataclass(frozen=True)
class Addition:
    """A dataset to append: its name, its keys as a [[datasets]] entry, and its first learning rate."""

    name: str
    keys: dict[str, Any]
    learning_rate: float | None = None
    overrides: tuple[str, ...] = ()


def extend(
    storage: str | Path,
    name: str,
    dataset: str,
    path: str | Sequence[str],
    *,
    epochs: int | None = None,
    learning_rate: float | None = None,
    overrides: Sequence[str] = (),
    num_workers: int | None = None,
    address: str | None = None,
    watch: Watch = ignore,
) -> RunResult:
    """Append the dataset in the files of `path` to the run `name` and train it; returns the run's new result.

    `epochs` and `learning_rate` are those of the new dataset; the rate may be higher than the carried one. `overrides` are
    KEY=VALUE as for --set. Only the new dataset's epochs are trained. Raises InputError before anything is written.
    """
    store, started = Store(str(storage)), time.perf_counter()
    paths = [path] if isinstance(path, str) else list(path)
    files = [absolute(each, Path.cwd()) for each in paths]
    keys: dict[str, Any] = {"name": dataset, "path": files[0] if len(files) == 1 else files}
    keys |= {} if epochs is None else {"epochs": epochs}

    def prepare(recipe: Recipe) -> tuple[PreparedDataset, DatasetSource]:
        alone = dataclasses.replace(recipe, entries=recipe.entries[-1:], order="given")
        alone = dataclasses.replace(alone, training=recipe.training.model_copy(update={"decay_rate": 1.0}))
        alone = dataclasses.replace(alone, document={**recipe.document, "datasets": recipe.document["datasets"][-1:]})
        watch(Preparing(recipe.name))
        prepared = prepare_on(alone, store.storage, address, watch)
        if len(prepared.datasets) != 1:
            raise InputError(f"--dataset {dataset}: {len(prepared.datasets)} datasets match this name: use a name for one")
        return prepared.datasets[0].prepared, prepared.sources[0]

    addition = Addition(dataset, keys, learning_rate, tuple(overrides))
    with store.using("extend"):
        mend_copies(store.storage, name)  # so that a run that has the dataset already is refused
        return extend_run(store, open_run(store, name), addition, prepare, started, num_workers, address, watch)


def extend_run(
    store: Store,
    run: TrainedRun,
    addition: Addition,
    prepare: Prepare,
    started: float,
    num_workers: int | None = None,
    address: str | None = None,
    watch: Watch = ignore,
) -> RunResult:
    """Append a dataset to an opened run; `prepare` returns its rows for the extended recipe."""
    recipe = extended_recipe(run, addition)
    if num_workers is not None:
        recipe = dataclasses.replace(recipe, compute=recipe.compute.model_copy(update={"num_workers": num_workers}))
    new, source = prepare(recipe)
    before = [each.prepared for each in run.datasets]
    settings = [*(each.prepared.settings for each in run.datasets), new.settings]
    count = len(run.plan.stages)
    own_encoding = make_encodings([*before[:count], new], [*settings[:count], settings[-1]])[-1]
    encoding, warnings = _encoded_as(run.datasets[count - 1].encoding, own_encoding, new, recipe.model.classes == "seen")
    (encoding,) = with_class_weights([encoding], [new], recipe.model.class_weights)
    # A new class may occur in the validation labels of earlier datasets.
    known = [EncodedDataset(each.prepared, _with_classes(each.encoding, encoding.classes)) for each in run.datasets]
    datasets = [*known[:count], EncodedDataset(new, encoding), *known[count:]]  # datasets that are only evaluated come last
    epochs = [stage.epochs for stage in run.plan.stages]
    epochs.append(recipe.entries[-1].keys.epochs or recipe.training.epochs)
    epochs += [0] * len(known[count:])
    _check_that_only_new_epochs_are_trained(run, plan_of(recipe, datasets, epochs))
    sources = [*run.sources[:count], source, *run.sources[count:]]
    prepared = Prepared(datasets, sources, epochs, time.perf_counter() - started, "", tuple(warnings))
    return train_prepared(recipe, prepared, store, run.name, address, watch)


def extended_recipe(run: TrainedRun, addition: Addition) -> Recipe:
    """Return the recipe of a run with one more dataset; raises InputError with its problems."""
    names, status = [each.name for each in run.datasets], "finished" if run.result is None else run.result.status
    if addition.name in names:
        raise InputError(f"--dataset {addition.name}: run {run.name!r} has a dataset of this name: write another")
    if status != "finished":
        raise InputError(f"run {run.name!r} is {status}: train it again first, or extend a run that has finished")
    document = copy.deepcopy(dict(run.recipe.document))
    document["datasets"] = [*document["datasets"], addition.keys]
    training = document.setdefault("training", {})
    rates = _decay_rates(run, addition.learning_rate)
    if rates is not None:
        training["decay_rate"] = rates
    for each in addition.overrides:
        override(document, each)
    return check_recipe(document, run.recipe.folder, f"run {run.name!r}, extended")


def _decay_rates(run: TrainedRun, learning_rate: float | None) -> list[float] | None:
    """Return the decay rates with one more change; None if the recipe's single number stays."""
    training, changes = run.plan.training, len(run.plan.stages) - 1
    decay = training.decay_rate
    rates = [decay] * changes if isinstance(decay, (int, float)) else list(decay)
    if learning_rate is None:
        return None if isinstance(decay, (int, float)) else [*rates, rates[-1] if rates else 1.0]
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise InputError(f"--learning-rate {learning_rate:g}: write a number above 0")
    return [*rates, learning_rate / (training.learning_rate * math.prod(rates))]


def _with_classes(encoding: Encoding, classes: list[str]) -> Encoding:
    weights = (*encoding.class_weights, *[1.0] * (len(classes) - len(encoding.classes))) if encoding.class_weights else ()
    return dataclasses.replace(encoding, classes=classes, class_weights=weights)


def _encoded_as(earlier: Encoding, encoding: Encoding, new: PreparedDataset, grows: bool) -> tuple[Encoding, list[str]]:
    """Return the encoding of the new dataset: categories and a shared scaling are the run's; its classes come first."""
    unknown = sorted(set(encoding.classes) - set(earlier.classes))
    if unknown and not grows:
        raise InputError(
            f"dataset {new.name!r} has the classes {', '.join(unknown)}, which the run does not have, and its recipe has "
            'classes = "all": write classes = "seen" in [model] and train all datasets again'
        )
    warnings = [
        f"dataset {new.name!r}: column {column!r}: unseen category {label!r}, treated as missing"
        for column, labels in encoding.categories.items()
        for label in sorted(set(labels) - set(earlier.categories.get(column, [])))
    ]
    if new.settings.scaling_scope == "shared":
        warnings.append(
            f'dataset {new.name!r}: scaling_scope = "shared": it uses the scaling of the run; `train` with all files would '
            "compute a new scaling and retrain every epoch"
        )
        encoding = dataclasses.replace(encoding, center=earlier.center, scale=earlier.scale)
    return dataclasses.replace(encoding, categories=earlier.categories, classes=[*earlier.classes, *unknown]), warnings


def _check_that_only_new_epochs_are_trained(run: TrainedRun, plan: Plan) -> None:
    """Raise InputError for settings that would change earlier epochs."""
    count = len(run.plan.stages)
    before, after = (
        {
            "seed": each.seed,
            "model": (each.model, each.root),
            "training": each.training.model_dump(exclude={"decay_rate", "evaluations"}),
            "retention": each.retention,
            "guard": each.guard,
            "the earlier datasets": [dataset.sha256 for dataset in each.datasets[:count]],
            "the earlier learning rates and epochs": each.stages[:count],
        }
        for each in (run.plan, plan)
    )
    changed = [setting for setting, value in before.items() if after[setting] != value]
    if changed:
        raise InputError(
            f"--set changes {', '.join(changed)} of run {run.name!r}, so its earlier epochs would be retrained: "
            "`extend` only appends a dataset: leave it out, or train the recipe"
        )
