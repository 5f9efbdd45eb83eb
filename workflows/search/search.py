"""A search, from a recipe to search.json: every epoch is trained once, whatever the number of trials that ask for it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

from cluster.connect import resources
from cluster.mps import multi_process_service
from cluster.placement import PlacementError
from cluster.trials import TrialPlacement, place_trials, useful_trials_per_gpu
from cluster.watching import watching
from data.errors import InputError
from data.prepared.encoding import EncodedDataset
from data.prepared.reference import DatasetRef
from workflows.recipe.recipe import Entry, Recipe
from workflows.relay.events import Noticed, Preparing, RunEvent, Waiting
from workflows.relay.failures import RunFailedError
from workflows.relay.metrics import naive_error
from workflows.results.events import SearchFinished, SearchPlanned, Watch, ignore
from workflows.search.progress import SearchProgress
from workflows.search.result import summarise, write_search
from workflows.search.run import Run, Tally
from workflows.search.scene import Scene, Variant, variant_name
from workflows.search.space import (
    Config,
    Parameter,
    check_parameters,
    data_variants,
    draw,
    grid,
    parameters_of,
    trial_recipe,
)
from workflows.store.store import Store
from workflows.store.usage import Usage
from workflows.training.preparing import check_cluster, prepare_watched, wait_for_a_core

Facts = dict[str, Any]


def search(
    recipe: Recipe,
    storage: str | Path,
    name: str | None = None,
    num_workers: int | None = None,
    address: str | None = None,
    watch: Watch = ignore,
) -> Facts:
    """Try what the recipe's [search] describes and return what search.json holds.

    What the store in `storage` holds already is not trained again, so that the same call goes on where another one was
    interrupted. Raises InputError before anything is written, RunFailedError where no trial came to an end.
    """
    store = Store(str(storage))
    if num_workers is not None:
        recipe = dataclasses.replace(recipe, search=recipe.search.model_copy(update={"workers_per_trial": num_workers}))
    with store.using("search") as usage:
        return _search(recipe, store, name or recipe.name, address, watch, usage)


def _search(recipe: Recipe, store: Store, name: str, address: str | None, watch: Watch, usage: Usage) -> Facts:
    started = time.perf_counter()
    parameters = parameters_of(recipe, recipe.place)
    configs = choose_trials(recipe, parameters)
    if configs is None:
        _check_optuna()
    check_cluster(store.storage, address, watch)
    num_trials = recipe.search.num_samples if configs is None else len(configs)
    try:
        useful = useful_trials_per_gpu(recipe.training.batch_size, recipe.model.hidden_size)
        workers, shared = recipe.search.workers_per_trial, recipe.search.trials_per_gpu
        placement = place_trials(workers, recipe.compute.use_gpu, resources(), num_trials, shared, useful)
    except PlacementError as error:
        raise InputError(f"search: {error}") from None
    watch(Preparing(recipe.name))
    scene, opened, orders = set_scene(recipe, parameters, store, address, placement, watch)
    usage.begin()  # of a store that did not exist before
    watch(SearchPlanned(num_trials, placement, tuple(orders), store.address))
    if placement.num_concurrent > 1 and not store.storage.exclusive:
        watch(Waiting(f"{store.address}: two trials at a time may train the same epoch there"))
    tally = Tally()
    folders = sorted({each.prepared.folder.name for datasets in opened.values() for each in datasets})
    with SearchProgress(store, name, folders, num_trials, tally) as note:
        run = Run(recipe, scene, opened, store, tally, note.watching(watch))
        waiting = None if configs is None else run.look_up(configs)
        if waiting is None or waiting:
            together = placement.trials_per_gpu > 1 and address is None
            with contextlib.ExitStack() as stack:
                if address is not None:
                    wait_for_a_core(watch)
                    stack.enter_context(watching(lambda words: watch(Noticed(words))))
                service = stack.enter_context(multi_process_service()) if together else ""
                run.scene = dataclasses.replace(run.scene, gpu_service=service)
                run.with_ray(name, address, parameters, placement, waiting)
    if not any("failed" not in trial for trial in tally.trials.values()):
        first = next(iter(tally.trials.values()), {"failed": "there was none"})
        raise RunFailedError(f"no trial came to an end; the first: {first['failed']}")
    trials = [trial for _, trial in sorted(tally.trials.items())]
    result = summarise(name, recipe, trials, tally.trained, time.perf_counter() - started)
    result["prepared"] = folders
    write_search(store, name, recipe, result)
    note.remove()
    watch(SearchFinished(result, f"{store.address}/runs/{name}"))
    return result


def choose_trials(recipe: Recipe, parameters: list[Parameter]) -> list[Config] | None:
    """The trials of a grid or a random draw, each checked as a recipe; None where Optuna chooses as it goes on."""
    check_parameters(recipe, parameters, recipe.place)
    data_variants(parameters)
    search = recipe.search
    if search.algorithm == "optuna":
        return None
    configs = grid(parameters) if search.algorithm == "grid" else draw(parameters, search.num_samples, recipe.seed)
    for number, config in enumerate(configs, 1):
        words = ", ".join(f"{key} = {value!r}" for key, value in config.items())
        trial_recipe(recipe, config, f"search, trial {number} ({words})")
    return configs


def _check_optuna() -> None:
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise InputError(
            'search: algorithm = "optuna" needs a package that is not installed: run pip install -c constraints.txt -e '
            '".[search]", or write algorithm = "random"'
        )


def set_scene(
    recipe: Recipe,
    parameters: list[Parameter],
    store: Store,
    address: str | None,
    placement: TrialPlacement,
    watch: Watch = ignore,
) -> tuple[Scene, dict[str, list[EncodedDataset]], list[str]]:
    """Prepare the datasets of every variant.

    Beside what is sent to the trials, the datasets of this process are returned, and the lines on the orders of training.
    """
    first = {each.name: (each.values() or (each.space.low,))[0] for each in parameters}  # type: ignore[union-attr]
    variants, opened, orders = {}, {}, []
    for values in data_variants(parameters):
        made = trial_recipe(recipe, {**first, **values})
        # Each dataset's epochs are the trial's; what has to be known here is the entry that each dataset comes from.
        entries = tuple(
            Entry(entry.keys.model_copy(update={"epochs": number}), entry.settings)
            for number, entry in enumerate(made.entries, 1)
        )
        prepared = prepare_watched(dataclasses.replace(made, entries=entries), store.storage, address, watch)
        sent = tuple(map(DatasetRef.of, prepared.datasets))
        key = variant_name(values)
        orders.append(prepared.order)
        variants[key] = Variant(sent, tuple(number - 1 for number in prepared.epochs))
        opened[key] = prepared.datasets
        if not any(naive_error(each, "validation", made.model.loss) for each in prepared.datasets):
            raise InputError("search: no dataset has validation samples to judge a trial by: give split a validation part")
    names = tuple(each.name for each in parameters if each.changes_data)
    document = dict(recipe.document)
    scene = Scene(
        document, recipe.folder, names, variants, store.address, _unheard, placement.num_workers, placement.use_gpu,
        recipe.compute.device_memory,
    )  # fmt: skip
    return scene, opened, [words for words in dict.fromkeys(orders) if words]


def _unheard(event: RunEvent) -> None:
    """Emit nothing, until the trials have a channel."""
