"""A trial of a search: a class Trainable of Ray Tune whose step is one stage, in a process that trials share in turn."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch
from ray.tune import Trainable

from cluster.mps import find_service
from data.prepared.encoding import EncodedDataset
from workflows.fit.device_lane import lane_for
from workflows.fit.errors import NonFiniteLossError
from workflows.fit.group import Group
from workflows.fit.lanes import Lane
from workflows.relay.events import Damaged, EpochDone, RunEvent, Waiting
from workflows.relay.plan import Plan
from workflows.relay.walk import StoreError, Walker
from workflows.search.propose import WORST
from workflows.search.scene import Scene
from workflows.search.space import Config
from workflows.search.stages import StageDone, metrics_after, walk_stages
from workflows.store.store import Store

Facts = dict[str, Any]


class Walks:
    """Walks through the plans of trials, one after the other; datasets that one has opened stay mapped for the next."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self.store = Store(scene.storage)
        self.datasets: dict[str, list[EncodedDataset]] = {}
        self.plan: Plan | None = None
        self.lane: Lane | None = None
        self.stages: Generator[StageDone, None, None] | None = None
        self.variant, self.trained = "", 0

    def begin(self, number: int, config: Config) -> None:
        """Leave the walk that is under way, if any, and begin that of another trial."""
        if self.stages is not None:
            self.stages.close()
        self.variant, self.trained = self.scene.variant_of(config), 0
        if self.variant not in self.datasets:
            self.datasets[self.variant] = self.scene.open(self.variant)
        datasets, group = self.datasets[self.variant], Group.current()

        def emit(event: RunEvent) -> None:
            if isinstance(event, EpochDone):
                self.trained += 1
                self.scene.emit(replace(event, trial=number, pid=os.getpid()))
            elif isinstance(event, Damaged | Waiting):
                self.scene.emit(replace(event, trial=number))

        self.plan = self.scene.plan(config, datasets)
        device = "cuda" if self.scene.use_gpu else "cpu"
        if self.lane is None:  # rows that are on the GPU stay there from trial to trial
            self.lane = lane_for(torch.device(device), self.scene.device_memory_gb)
        walker = Walker(self.plan, datasets, self.store, group, emit, device, lane=self.lane)
        self.stages = walk_stages(walker)

    def next_stage(self) -> Facts:
        """Do the next stage; returns what Ray Tune is told of it, on all workers alike."""
        assert self.stages is not None
        assert self.plan is not None
        try:
            done = next(self.stages)
        except (NonFiniteLossError, StoreError) as error:
            return {
                "failed": str(error),
                "done": True,
                "complete": False,
                "mean_scaled_error": WORST,
                "forgetting": WORST,
                "trained": self.trained,
            }
        metrics = metrics_after(done.errors, self.datasets[self.variant], self.plan.model.loss)
        told = {name: WORST if value is None else value for name, value in metrics.items()}
        if metrics["forgetting"] is None:
            told["forgetting"] = 0.0  # after the first dataset
        last = done.number == len(self.plan.stages)
        return {**told, "stages": done.number, "trained": self.trained, "done": last, "complete": last}


class Trial(Trainable):
    """One trial after the other in the same process (reuse_actors=True): no start of a process for each."""

    def setup(self, config: Facts, scene: Scene | None = None) -> None:
        """Begin the first trial."""
        assert scene is not None
        find_service(scene.gpu_service)
        if scene.num_workers:
            from workflows.search.trial_group import GroupWalks

            self.walks: Any = GroupWalks(scene)
        else:
            torch.set_num_threads(1)  # there is a trial for each core
            self.walks = Walks(scene)
        self.reset_config(config)

    def reset_config(self, new_config: Facts) -> bool:
        """Begin another trial, with all that is open staying so."""
        proposal = new_config["proposal"]
        self.walks.begin(proposal["number"], proposal["config"])
        return True

    def step(self) -> Facts:
        """One stage."""
        result: Facts = self.walks.next_stage()
        return result

    def cleanup(self) -> None:
        """Free the workers, where there are any."""
        if hasattr(self.walks, "close"):
            self.walks.close()
