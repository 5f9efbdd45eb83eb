"""Worker groups are started until the run is done: what to do after a loss is decided in cluster.recovery, and done here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cluster.capacity import Node
from cluster.connect import capacity
from cluster.placement import Placement
from cluster.ray_compat import free_nodes
from cluster.recovery import (
    TELL_S,
    GiveUp,
    Start,
    Wait,
    after_loss,
    after_wait,
    find_loss,
    first_step,
    reconsider,
    waiting_words,
)
from workflows.relay.events import Emit, EpochDone, RunEvent, Waiting, WorkersLost, Working
from workflows.relay.failures import RunFailedError

LOOK_S = 2  # whole seconds, as a placement group waits
FitGroup = Callable[[int, int], None]  # the workers, and how many they may become


@dataclass
class Group:
    """The nodes of the worker group that runs, by rank, and its losses since the last epoch."""

    nodes: list[str] = field(default_factory=list)
    losses: int = 0

    def hear(self, event: RunEvent) -> None:
        """Take note of an event of the run."""
        if isinstance(event, Working):
            self.nodes = list(event.nodes)
        elif isinstance(event, EpochDone):
            self.losses = 0


def run_attempts(fit: FitGroup, placement: Placement, group: Group, emit: Emit) -> None:
    """Start groups by `fit` until one has done all.

    Raises RunFailedError with the reason and the node where the run cannot go on.
    """
    from ray.train import ControllerError, TrainingFailedError

    step: Wait | GiveUp = first_step(placement, capacity())
    while True:
        if isinstance(step, GiveUp):
            raise RunFailedError(
                f"{step.why}; ray.log in the run's folder says more, and the same command goes on from the last epoch in "
                "the store"
            )
        start = wait_for_room(placement, step, emit)
        if isinstance(start, GiveUp):
            step = start
            continue
        if start.words:
            emit(Waiting(start.words))
        there = {node.name for node in capacity().nodes}
        try:
            fit(start.num_workers, start.max_workers)
            return
        except TrainingFailedError as error:
            group.losses += 1
            gone = sorted(there - {node.name for node in capacity().nodes})
            loss = find_loss(failures_of(error), group.nodes, gone)
            step = after_loss(placement, capacity(), loss, group.losses)
            if isinstance(step, Wait):
                late = isinstance(error, ControllerError) and not gone and "timed out" in str(error).lower()
                emit(Waiting("the room for the workers was taken") if late else WorkersLost(loss.cause, loss.node))


def failures_of(error: Any) -> dict[int, str]:
    """Return what Ray Train reports of each worker of a group that failed, by rank."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        return {int(rank): f"{type(each).__name__}: {each}" for rank, each in failures.items()}
    return {0: str(error)}


def wait_for_room(placement: Placement, wait: Wait, emit: Emit) -> Start | GiveUp:
    """Wait until the workers fit on what is free, at most as long as `wait` says; every 15 s what is waited for is told.

    A placement group that waits is also what a cluster's autoscaler adds machines for.
    """
    started = told = time.monotonic()
    with _asked_for(placement, wait.num_workers) as asked:
        there = asked.wait(LOOK_S)
    while not there and (waited := time.monotonic() - started) < wait.limit_s:
        now = capacity()
        wait = reconsider(placement, wait, now)
        if time.monotonic() - told >= TELL_S:
            told = time.monotonic()
            emit(Waiting(waiting_words(placement, wait.num_workers, free_nodes(), now, waited)))
        with _asked_for(placement, wait.num_workers) as asked:
            while not there and reconsider(placement, wait, capacity()) == wait and time.monotonic() - told < TELL_S:
                there = asked.wait(LOOK_S)
    free: tuple[Node, ...] = () if there else free_nodes()
    return after_wait(placement, wait, free, time.monotonic() - started, there)


@contextlib.contextmanager
def _asked_for(placement: Placement, count: int) -> Iterator[Any]:
    """A placement group for so many workers while the context lasts."""
    from ray.util.placement_group import placement_group, remove_placement_group

    bundle = {"CPU": placement.cpus, **({"GPU": 1.0} if placement.use_gpu else {})}
    asked = placement_group([bundle] * count, strategy="PACK")
    try:
        yield asked
    finally:
        remove_placement_group(asked)
