"""Run a search, from a recipe to search.json: every epoch is trained once, however many trials need it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path

from cluster.capacity import Capacity
from cluster.connect import capacity
from cluster.mps import multi_process_service
from cluster.placement import PlacementError
from cluster.trials import TrialPlacement, place_trials, useful_trials_per_gpu
from cluster.watching import watching
from data.errors import InputError
from workflows.recipe.recipe import Recipe
from workflows.relay.events import Noticed, Preparing, Waiting
from workflows.relay.failures import RunFailedError
from workflows.results.events import SearchFinished, SearchPlanned, Watch, ignore
from workflows.results.search_result import SearchResult
from workflows.search.algorithms import ALGORITHMS, SearchPlan, listed_configs
from workflows.search.context import prepare_context
from workflows.search.optuna_study import check_optuna
from workflows.search.progress import SearchProgress
from workflows.search.result import summarise, write_search
from workflows.search.run import Run, SearchTotals
from workflows.search.space import (
    MAX_TRIALS,
    Config,
    Parameter,
    check_parameters,
    data_variants,
    grid,
    parameters_of,
    trial_recipe,
)
from workflows.search.under_ray import run_under_ray
from workflows.store.store import Store
from workflows.store.usage import Usage
from workflows.training.preparing import check_cluster, wait_for_a_core


def search(
    recipe: Recipe,
    storage: str | Path,
    name: str | None = None,
    num_workers: int | None = None,
    address: str | None = None,
    watch: Watch = ignore,
) -> SearchResult:
    """Run the search in the recipe's [search] and return its result, the content of search.json.

    Epochs in the store are not trained again, so the same call resumes an interrupted search. Raises InputError before
    anything is written, RunFailedError if no trial finishes.
    """
    store, recipe = Store(str(storage)), with_workers(recipe, num_workers)
    with store.using("search") as usage:
        return _search(recipe, store, name or recipe.name, address, watch, usage)


def with_workers(recipe: Recipe, num_workers: int | None) -> Recipe:
    """Return the recipe with this number of workers for each trial; None: unchanged."""
    if num_workers is None:
        return recipe
    return dataclasses.replace(recipe, search=recipe.search.model_copy(update={"workers_per_trial": num_workers}))


def _search(recipe: Recipe, store: Store, name: str, address: str | None, watch: Watch, usage: Usage) -> SearchResult:
    started = time.perf_counter()
    parameters = parameters_of(recipe, recipe.label)
    num_trials = check_trials(recipe, parameters)
    check_cluster(store.storage, address, watch)
    placement = placement_of(recipe, num_trials, capacity())
    watch(Preparing(recipe.name))
    context, opened, orders = prepare_context(recipe, parameters, store, address, placement, watch)
    algorithm = ALGORITHMS[recipe.search.algorithm](
        SearchPlan(recipe, parameters, placement.num_concurrent, [each.entries for each in context.variants.values()])
    )
    usage.begin()  # for a store that did not exist before
    watch(SearchPlanned(algorithm.num_trials, placement, tuple(orders), store.address))
    if placement.num_concurrent > 1 and not store.storage.exclusive:
        watch(Waiting(f"{store.address}: two trials at a time may train the same epoch there"))
    totals = SearchTotals()
    folders = sorted({each.prepared.folder.name for datasets in opened.values() for each in datasets})
    with SearchProgress(store, name, folders, algorithm.num_trials, totals) as progress:
        run = Run(recipe, context, opened, store, algorithm, progress.watching(watch), totals)
        if not run.look_up():
            together = placement.trials_per_gpu > 1 and address is None
            with contextlib.ExitStack() as stack:
                if address is not None:
                    wait_for_a_core(watch)
                    stack.enter_context(watching(lambda words: watch(Noticed(words))))
                service = stack.enter_context(multi_process_service()) if together else ""
                run.context = dataclasses.replace(run.context, gpu_service=service)
                run_under_ray(run, name, address, placement)
    trials = [trial for _, trial in sorted(totals.trials.items())]
    if not any(trial.failed is None for trial in trials):
        raise RunFailedError(f"no trial finished; the first: {trials[0].failed if trials else 'there was none'}")
    seconds = time.perf_counter() - started
    result = summarise(name, recipe, trials, len(totals.epochs), len(totals.trained), seconds, folders)
    write_search(store, name, recipe, result)
    progress.remove()
    watch(SearchFinished(result, f"{store.address}/runs/{name}"))
    return result


def check_trials(recipe: Recipe, parameters: list[Parameter]) -> int:
    """Check every trial and return their largest number; raises InputError before anything is started."""
    check_parameters(recipe, parameters, recipe.label)
    data_variants(parameters)
    configs = listed_configs(recipe, parameters)
    if configs is None:
        if recipe.search.algorithm == "optuna":
            check_optuna()
            return recipe.search.num_samples
        for each in parameters:
            grid([each], recipe.label)  # refuses ranges without a step
        return MAX_TRIALS  # the trials of a beam depend on the datasets
    for number, config in enumerate(configs, 1):
        trial_recipe(recipe, config, f"search, trial {number} ({_words(config)})")
    return len(configs)


def _words(config: Config) -> str:
    return ", ".join(f"{key} = {value!r}" for key, value in config.items())


def placement_of(recipe: Recipe, num_trials: int, available: Capacity) -> TrialPlacement:
    """Return how the trials are placed on the cluster; raises InputError if not even one fits."""
    useful = useful_trials_per_gpu(recipe.training.batch_size, recipe.model.hidden_size)
    workers, shared = recipe.search.workers_per_trial, recipe.search.trials_per_gpu
    cpus = 1 if recipe.compute.cpus_per_worker == "auto" else recipe.compute.cpus_per_worker
    use_gpu = recipe.compute.use_gpu
    try:
        return place_trials(workers, use_gpu, available.totals(), num_trials, shared, useful, available.nodes, cpus)
    except PlacementError as error:
        raise InputError(f"search: {error}") from None
