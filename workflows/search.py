"""A search, from a recipe to search.json: every epoch is trained once, whatever the number of trials that ask for it."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.connect import connect, quiet, resources, write_log_to
from cluster.placement import PlacementError
from cluster.trials import TrialPlacement, place_trials
from data.encoding import EncodedDataset
from data.errors import InputError
from workflows.events import Watch
from workflows.lookup import finished
from workflows.plan import Plan
from workflows.recipe import Entry, Recipe
from workflows.relay import NotAnsweredError
from workflows.result import naive_error
from workflows.scene import Scene, Variant, variant_name
from workflows.search_result import failed_trial, finished_trial, stopped_trial, summarise, write_search
from workflows.space import Config, Parameter, check_parameters, data_variants, draw, grid, parameters_of, trial_recipe
from workflows.store import Store
from workflows.train import prepare_datasets
from workflows.trial_order import order_trials
from workflows.workers import RunFailedError

Facts = dict[str, Any]


@dataclass
class Tally:
    """What a search has come to so far: the trials by number, and the epochs that were trained for it."""

    trials: dict[int, Facts] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)


def search(
    recipe: Recipe,
    storage: str | Path,
    name: str | None = None,
    num_workers: int | None = None,
    address: str | None = None,
    watch: Watch = lambda event: None,
) -> Facts:
    """Try what the recipe's [search] describes and return what search.json holds.

    What the store in `storage` holds already is not trained again, so that the same call goes on where another one was
    interrupted. Raises InputError before anything is written, RunFailedError where no trial came to an end.
    """
    started = time.perf_counter()
    store, name = Store(str(storage)), name or recipe.name
    if num_workers is not None:
        recipe = dataclasses.replace(recipe, search=recipe.search.model_copy(update={"workers_per_trial": num_workers}))
    parameters = parameters_of(recipe)
    configs = choose_trials(recipe, parameters)
    if configs is None:
        _check_optuna()
    if address is not None:
        connect(address)
    num_trials = recipe.search.num_samples if configs is None else len(configs)
    try:
        placement = place_trials(recipe.search.workers_per_trial, recipe.compute.use_gpu, resources(), num_trials)
    except PlacementError as error:
        raise InputError(f"search: {error}") from None
    watch({"event": "preparing", "recipe": recipe.name})
    scene, opened = set_scene(recipe, parameters, store, address, placement)
    watch({"event": "search planned", "trials": num_trials, "placement": placement, "storage": store.address})
    if not store.storage.local and placement.num_concurrent > 1:
        watch({"event": "waiting", "message": f"{store.address}: two trials at a time may train the same epoch there"})
    tally = Tally()
    run = Run(recipe, scene, opened, store, tally, watch)
    waiting = None if configs is None else run.look_up(configs)
    if waiting is None or waiting:
        run.with_ray(name, address, parameters, placement, waiting)
    if not any("failed" not in trial for trial in tally.trials.values()):
        first = next(iter(tally.trials.values()), {"failed": "there was none"})
        raise RunFailedError(f"no trial came to an end; the first: {first['failed']}")
    trials = [trial for _, trial in sorted(tally.trials.items())]
    result = summarise(name, recipe, trials, tally.trained, time.perf_counter() - started)
    result["prepared"] = sorted({each.prepared.folder.name for datasets in opened.values() for each in datasets})
    write_search(store, name, recipe, result)
    watch({"event": "search finished", "result": result, "folder": f"{store.address}/runs/{name}"})
    return result


def choose_trials(recipe: Recipe, parameters: list[Parameter]) -> list[Config] | None:
    """The trials of a grid or a random draw, each checked as a recipe; None where Optuna chooses as it goes on."""
    check_parameters(recipe, parameters)
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
    recipe: Recipe, parameters: list[Parameter], store: Store, address: str | None, placement: TrialPlacement
) -> tuple[Scene, dict[str, list[EncodedDataset]]]:
    """Prepare the datasets of every variant; those of this process are returned beside what is sent to the trials."""
    first = {each.name: (each.values() or (each.space.low,))[0] for each in parameters}  # type: ignore[union-attr]
    variants, opened = {}, {}
    for values in data_variants(parameters):
        made = trial_recipe(recipe, {**first, **values})
        # Each dataset's epochs are the trial's; what has to be known here is the entry that each dataset comes from.
        entries = tuple(
            Entry(entry.keys.model_copy(update={"epochs": number}), entry.settings)
            for number, entry in enumerate(made.entries, 1)
        )
        prepared = prepare_datasets(dataclasses.replace(made, entries=entries), store.address, address)
        sent = tuple((each.prepared.folder.name, each.name, each.encoding) for each in prepared.datasets)
        key = variant_name(values)
        variants[key] = Variant(sent, tuple(number - 1 for number in prepared.epochs))
        opened[key] = prepared.datasets
        if not any(naive_error(each, "validation", made.model.loss) for each in prepared.datasets):
            raise InputError("search: no dataset has validation samples to judge a trial by: give split a validation part")
    names = tuple(each.name for each in parameters if each.changes_data)
    document = dict(recipe.document)
    scene = Scene(
        document, recipe.folder, names, variants, store.address, _unheard, placement.num_workers, placement.use_gpu
    )
    return scene, opened


def _unheard(event: Facts) -> None:
    """Until there is somebody to tell."""


@dataclass
class Run:
    """A search that is under way."""

    recipe: Recipe
    scene: Scene
    opened: dict[str, list[EncodedDataset]]
    store: Store
    tally: Tally
    watch: Watch

    def plan(self, config: Config) -> tuple[Plan, list[EncodedDataset]]:
        """The plan of a trial, and the datasets that it is for."""
        datasets = self.opened[self.scene.variant_of(config)]
        return self.scene.plan(config, datasets), datasets

    def look_up(self, configs: list[Config]) -> list[tuple[int, Config]]:
        """Note the trials that the store holds completely; the others are returned."""
        if self.recipe.search.scheduler != "none":  # which of them are stopped is decided anew
            return list(enumerate(configs))
        left = [(number, config) for number, config in enumerate(configs) if not self.note(number, config)]
        if len(left) < len(configs):
            self.watch({"event": "search held", "held": len(configs) - len(left), "trials": len(configs)})
        return left

    def note(self, number: int, config: Config) -> bool:
        """Note a trial if the store holds all of it."""
        plan, datasets = self.plan(config)
        try:
            outcome = finished(plan, self.store)
        except NotAnsweredError:
            return False
        self.tally.trials[number] = finished_trial(number, config, plan, datasets, outcome)
        return True

    def ended(self, number: int, config: Config, result: Facts) -> None:
        """Note a trial that has ended, been stopped or failed."""
        if "failed" in result:
            self.tally.trials[number] = failed_trial(number, config, result["failed"])
        elif not (result.get("done") and result["stages"] == self._num_stages(config) and self.note(number, config)):
            plan, _ = self.plan(config)
            self.tally.trials[number] = stopped_trial(number, config, plan, result, self.store)
        self.watch({"event": "trial", "trained": result.get("trained", 0), **self.tally.trials[number]})

    def _num_stages(self, config: Config) -> int:
        return len(self.scene.variants[self.scene.variant_of(config)].datasets)

    def heard(self, event: Facts) -> None:
        """What the trials say."""
        if event["event"] == "epoch":
            self.tally.trained.append(event["key"])
        self.watch(event)

    def with_ray(
        self,
        name: str,
        address: str | None,
        parameters: list[Parameter],
        placement: TrialPlacement,
        waiting: list[tuple[int, Config]] | None,
    ) -> None:
        """Let Ray Tune run the trials that are not done."""
        if waiting is not None:
            keys = [_chain(self.plan(config)[0]) for _, config in waiting]
            waiting = [waiting[place] for place in order_trials(keys, placement.num_concurrent)]
        self.store.storage.create()
        connect(address)
        num_stages = max(len(variant.datasets) for variant in self.scene.variants.values())
        with self._log(name) as scratch, quiet("workflows.tuning"):
            from workflows.events import Channel
            from workflows.tuning import run_trials

            with Channel(self.heard) as emit:
                shared = "" if address is None else f"{self.store.address}/runs/{name}/.ray_tune"
                scene = dataclasses.replace(self.scene, emit=emit, scratch=shared)
                run_trials(
                    scene, self.recipe.search, placement, waiting, parameters, num_stages, self.recipe.seed,
                    shared or str(scratch), self.ended, lambda number: self.watch({"event": "trial lost", "number": number}),
                )  # fmt: skip

    @contextlib.contextmanager
    def _log(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch:
            local = self.store.storage.local
            write_log_to((Path(self.store.address) / "runs" / name if local else Path(scratch)) / "ray.log")
            try:
                yield Path(scratch)
            finally:
                self.store.storage.remove(f"runs/{name}/.ray_tune")


def _chain(plan: Plan) -> list[str]:
    """The addresses of a plan's epochs where each dataset hands over its last one."""
    key, keys = plan.root, []
    for number, stage in enumerate(plan.stages):
        for count in range(stage.epochs):
            key = plan.epoch(key, number, count).key
            keys.append(key)
    return keys
