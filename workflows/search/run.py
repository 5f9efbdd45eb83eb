"""A search that is under way: what the store holds is noted, what it lacks Ray Tune runs."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.connect import connect, quiet, write_log_to
from cluster.trials import TrialPlacement
from data.prepared.encoding import EncodedDataset
from workflows.recipe.recipe import Recipe
from workflows.relay.events import EpochDone, RunEvent
from workflows.relay.lookup import finished
from workflows.relay.plan import Plan
from workflows.relay.relay import NotAnsweredError
from workflows.results.events import SearchHeld, TrialDone, TrialLost, Watch
from workflows.search.result import failed_trial, finished_trial, stopped_trial
from workflows.search.scene import Scene
from workflows.search.space import (
    Config,
    Parameter,
)
from workflows.search.trial_order import order_trials
from workflows.store.store import Store

Facts = dict[str, Any]


@dataclass
class Tally:
    """What a search has come to so far: the trials by number, and the epochs that were trained for it."""

    trials: dict[int, Facts] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)


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
            self.watch(SearchHeld(len(configs) - len(left), len(configs)))
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

    def ended(self, number: int, config: Config, result: Facts) -> Facts | None:
        """Note a trial that is finished, was stopped by the scheduler or failed, and return it.

        None: the store lacks part of what the trial did, or nobody knows why it ended. It has to be run again.
        """
        if "failed" in result:
            self.tally.trials[number] = failed_trial(number, config, result["failed"])
        elif result.get("complete"):  # `done` is also what Tune writes into the last result of a trial that it stops
            if not self.note(number, config):
                return None
        elif self.recipe.search.scheduler == "none" or "stages" not in result:
            return None
        else:
            try:
                self.tally.trials[number] = stopped_trial(number, config, self.plan(config)[0], result, self.store)
            except NotAnsweredError:
                return None
        self.watch(TrialDone(self.tally.trials[number], result.get("trained", 0)))
        return self.tally.trials[number]

    def heard(self, event: RunEvent) -> None:
        """What the trials say."""
        if isinstance(event, EpochDone):
            self.tally.trained.append(event.key)
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
            keys = [[epoch.key for epoch in self.plan(config)[0].straight_on()] for _, config in waiting]
            waiting = [waiting[place] for place in order_trials(keys, placement.num_concurrent)]
        self.store.storage.create()
        connect(address)
        num_stages = max(len(variant.datasets) for variant in self.scene.variants.values())
        with self._log(name) as scratch, quiet("workflows.search.tuning"):
            from workflows.search.tuning import run_trials
            from workflows.training.channel import Channel

            with Channel(self.heard) as emit:
                shared = "" if address is None else f"{self.store.address}/runs/{name}/.ray_tune"
                scene = dataclasses.replace(self.scene, emit=emit, scratch=shared)
                run_trials(
                    scene, self.recipe.search, placement, waiting, parameters, num_stages, self.recipe.seed,
                    shared or str(scratch), self.ended, lambda number: self.watch(TrialLost(number)),
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
