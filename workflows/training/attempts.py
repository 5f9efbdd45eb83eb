"""Start worker groups until the run is done; cluster.recovery decides what follows a loss."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cluster.capacity import Node
from cluster.connect import capacity
from cluster.placement import Placement
from cluster.ray_compat import free_nodes
from cluster.recovery import (
    GiveUp,
    Start,
    Wait,
    after_loss,
    after_taken,
    after_wait,
    find_loss,
    first_step,
    reconsider,
    waiting_words,
    workers,
)
from cluster.telling import TELL_S, telling
from workflows.relay.events import Emit, EpochDone, RunEvent, Waiting, WorkersLost, Working
from workflows.relay.failures import RunFailedError

START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
# Elastic groups: seconds that a start waits for resources, and number of starts. Ray Train looks for nodes every 20 s, so a
# start may wait in vain for resources of a node that was just lost.
ELASTIC_START_S, ELASTIC_STARTS = 5, 8
LOOK_S = 2  # a placement group waits whole seconds
FitGroup = Callable[[Start], None]


@dataclass
class Group:
    """The nodes of the current worker group, by rank, and its losses and failed starts since the last epoch."""

    nodes: list[str] = field(default_factory=list)
    losses: int = 0
    taken: int = 0  # times that its room was taken before the start
    works: threading.Event = field(default_factory=threading.Event)  # set when the started group begins

    def hear(self, event: RunEvent) -> None:
        """Record an event of the run."""
        if isinstance(event, Working):
            self.nodes = list(event.nodes)
            self.works.set()
        elif isinstance(event, EpochDone):
            self.losses = self.taken = 0


def run_attempts(fit: FitGroup, placement: Placement, group: Group, emit: Emit) -> None:
    """Start groups by `fit` until one has finished.

    Raises RunFailedError with the reason and the node if the run cannot continue.
    """
    from ray.exceptions import RayActorError
    from ray.train import ControllerError, TrainingFailedError

    step: Wait | GiveUp = first_step(placement, capacity())
    while True:
        if isinstance(step, GiveUp):
            raise RunFailedError(
                f"{step.why}; see ray.log in the run's folder; run the same command to resume from the last epoch in "
                "the store"
            )
        start = wait_for_room(placement, step, emit)
        if isinstance(start, GiveUp):
            step = start
            continue
        if start.words:
            emit(Waiting(start.words))
        nodes_before = {node.name for node in capacity().nodes}
        group.works.clear()
        try:
            with telling(functools.partial(_tell_start, start, group, emit)):
                fit(start)
            return
        except RayActorError as error:
            # Ray keeps the cores of the workers until this process ends, so a new group has no room.
            step = GiveUp(f"Ray's controller of the workers was lost ({str(error).strip().splitlines()[0]})")
        except TrainingFailedError as error:
            gone = sorted(nodes_before - {node.name for node in capacity().nodes})
            if isinstance(error, ControllerError) and not gone and "timed out" in str(error).lower():
                group.taken += 1
                step = after_taken(placement, capacity(), group.taken)
                emit(Waiting("the room for the workers was taken before they could start"))
                continue
            group.losses += 1
            loss = find_loss(failures_of(error), group.nodes, gone)
            step = after_loss(placement, capacity(), loss, group.losses)
            if isinstance(step, Wait):
                emit(WorkersLost(loss.cause, loss.node))


def _tell_start(start: Start, group: Group, emit: Emit, waited_s: float) -> None:
    if not group.works.is_set():
        emit(Waiting(f"starting {workers(start.num_workers)} since {waited_s:.0f} s"))


@contextlib.contextmanager
def start_timeout(seconds: int | None) -> Iterator[None]:
    """Set how long groups started in the context wait for resources; None: the default of cluster.connect."""
    before = os.environ.get(START_TIMEOUT)
    if seconds is not None:
        os.environ[START_TIMEOUT] = str(seconds)
    try:
        yield
    finally:
        if before is not None:
            os.environ[START_TIMEOUT] = before
        else:
            os.environ.pop(START_TIMEOUT, None)


def failures_of(error: Any) -> dict[int, str]:
    """Return Ray Train's report of each failed worker of a group, by rank."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        return {int(rank): f"{type(each).__name__}: {each}" for rank, each in failures.items()}
    return {0: str(error)}


def wait_for_room(placement: Placement, wait: Wait, emit: Emit) -> Start | GiveUp:
    """Wait until the workers fit on the free resources, at most as long as `wait` says; reports every 15 s.

    A waiting placement group also makes a cluster's autoscaler add machines.
    """
    started = last_message = time.monotonic()
    with _requested(placement, wait) as request:
        is_free = request.wait(LOOK_S)
    while not is_free and (waited := time.monotonic() - started) < wait.limit_s:
        now = capacity()
        wait = reconsider(placement, wait, now)
        if time.monotonic() - last_message >= TELL_S:
            last_message = time.monotonic()
            emit(Waiting(waiting_words(placement, wait, free_nodes(), now, waited)))
        with _requested(placement, wait) as request:
            while (
                not is_free and reconsider(placement, wait, capacity()) == wait and time.monotonic() - last_message < TELL_S
            ):
                is_free = request.wait(LOOK_S)
    free: tuple[Node, ...] = () if is_free else free_nodes()
    return after_wait(placement, wait, free, time.monotonic() - started, is_free)


@contextlib.contextmanager
def _requested(placement: Placement, wait: Wait) -> Iterator[Any]:
    """Request the cores of the awaited workers as a placement group while the context lasts."""
    from ray.util.placement_group import placement_group, remove_placement_group

    bundle = {"CPU": wait.cpus, **({"GPU": 1.0} if placement.use_gpu else {})}
    request = placement_group([bundle] * wait.num_workers, strategy="PACK")
    try:
        yield request
    finally:
        remove_placement_group(request)
