"""What to do when workers cannot start or were lost: pure decisions with their reasons, taken by the loop that acts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.capacity import Capacity, Node, room_for
from cluster.placement import Placement

ROOM_LIMIT_S = 600.0  # how long a run waits for cores that other jobs hold
GROWTH_LIMIT_S = 900.0  # how long it waits for machines that the cluster may add
MAX_LOSSES = 3  # of workers in a row without an epoch in between
MAX_TAKEN = 15  # times in a row that the room for workers is gone when they start


@dataclass(frozen=True)
class Start:
    """Start a group of `num_workers` with `cpus` cores each, which may grow to `max_workers`; `words`: what to say of it."""

    num_workers: int
    max_workers: int
    words: str = ""
    cpus: float = 1.0


@dataclass(frozen=True)
class Wait:
    """Wait for room for `num_workers` of `cpus` cores, at most `limit_s`; `shrinks`: less, where the nodes take less."""

    num_workers: int
    limit_s: float
    shrinks: bool = True
    cpus: float = 1.0


@dataclass(frozen=True)
class GiveUp:
    """The run cannot go on, and why."""

    why: str


@dataclass(frozen=True)
class Loss:
    """Why a group ended: the worker and its node where they are known, and whether trying again can help."""

    cause: str
    node: str = ""
    hopeless: bool = False

    def words(self) -> str:
        """Return the loss as a part of a sentence."""
        return f"{self.node}: {self.cause}" if self.node else self.cause


def first_step(placement: Placement, capacity: Capacity) -> Wait:
    """Return how a run begins: it waits for the workers that it was given, and for the machines that are added for them."""
    if capacity.grows:
        return Wait(placement.num_workers, GROWTH_LIMIT_S, shrinks=False, cpus=placement.cpus)
    return Wait(placement.num_workers, ROOM_LIMIT_S, cpus=placement.cpus)


def reconsider(placement: Placement, wait: Wait, capacity: Capacity) -> Wait:
    """What is still to be waited for on the nodes that are alive now: Ray knows of a lost node seconds after its workers."""
    fits, cpus = what_fits(placement, capacity.nodes)
    return Wait(fits, wait.limit_s, cpus=cpus) if wait.shrinks and fits else wait


def after_wait(placement: Placement, wait: Wait, free: Sequence[Node], waited_s: float, there: bool) -> Start | GiveUp:
    """Return how a run goes on when a wait is over; `there` says whether the room is there that was waited for.

    A fixed number of workers is not waited for for ever: the numbers that a run gives do not depend on it. The group goes
    on with as many as there is room for, and grows as soon as there is more.
    """
    fits, cpus = (wait.num_workers, wait.cpus) if there else what_fits(placement, free)
    if fits == 0:
        return GiveUp(
            f"after {waited_s:.0f} s there is no room for a worker of {size_of(placement)}: {free_words(free)} free"
        )
    each = "" if cpus == placement.cpus else f", {cpus:g} of {placement.cpus:g} cores each"
    if fits == placement.num_workers:
        return Start(fits, placement.max_workers, f"going on with {workers(fits)}{each}" if each else "", cpus)
    words = f"going on with {fits} of {placement.num_workers} workers{each}; more are added when there is room for them"
    return Start(fits, max(placement.max_workers, placement.num_workers), words, cpus)


def after_loss(placement: Placement, capacity: Capacity, loss: Loss, losses: int) -> Wait | GiveUp:
    """Return how a run goes on when workers were lost, `losses` times in a row without finishing an epoch.

    Where the nodes that are left take fewer workers, these are started at once: they grow when a node is added.
    """
    if loss.hopeless:
        return GiveUp(loss.words())
    if losses > MAX_LOSSES:
        return GiveUp(f"the workers were lost {losses} times without finishing an epoch, the last time by: {loss.words()}")
    return _room_now(placement, capacity)


def after_taken(placement: Placement, capacity: Capacity, times: int) -> Wait | GiveUp:
    """Return how a run goes on when the room for its workers was taken, or its node lost, before they had started."""
    if times > MAX_TAKEN:
        return GiveUp(f"the room for the workers was taken {times} times before they had started")
    return _room_now(placement, capacity)


def _room_now(placement: Placement, capacity: Capacity) -> Wait:
    fits, cpus = what_fits(placement, capacity.nodes)
    limit = GROWTH_LIMIT_S if capacity.grows else ROOM_LIMIT_S
    return Wait(fits or placement.num_workers, limit, cpus=cpus)


def what_fits(placement: Placement, nodes: Sequence[Node]) -> tuple[int, float]:
    """Return how many of the workers fit on the nodes, and the cores of each.

    They get fewer cores only where not one of them fits with its own.
    """
    for cpus in (placement.cpus, *map(float, range(math.ceil(placement.cpus) - 1, 0, -1))):
        fits = min(room_for(nodes, cpus, float(placement.use_gpu)), placement.num_workers)
        if fits:
            return fits, cpus
    return 0, placement.cpus


def workers(count: int) -> str:
    """Return a number of workers in words."""
    return "1 worker" if count == 1 else f"{count} workers"


def size_of(placement: Placement) -> str:
    """Return what a worker takes of its node."""
    cores = "1 core" if placement.cpus == 1 else f"{placement.cpus:.2g} cores"
    return cores + (" and a GPU" if placement.use_gpu else "")


def free_words(free: Sequence[Node]) -> str:
    """Return the free cores of each node that has any, as a message shows them."""
    shown = [f"{node.name} {node.cores:g}" for node in free if node.cores or node.gpus]
    return ("cores " + ", ".join(shown[:8]) + (" ..." if len(shown) > 8 else "")) if shown else "no core is"


def waiting_words(placement: Placement, wait: Wait, free: Sequence[Node], capacity: Capacity, waited_s: float) -> str:
    """Return what is waited for and since when."""
    why = f"the nodes have {capacity.words()} in all, {free_words(free)} free"
    if capacity.grows:
        why += f"; the cluster may grow to {capacity.cores} cores" + (f" and {capacity.gpus} GPUs" if capacity.gpus else "")
    size = size_of(replace(placement, cpus=wait.cpus))
    return f"waiting for room for {workers(wait.num_workers)} of {size} since {waited_s:.0f} s: {why}"


ON_NODE = "[on node {}]"  # ends the message of a worker's error
DISK_FULL = ("No space left on device", "Disk quota exceeded")
NO_HELP = ("ModuleNotFoundError", "ImportError", "No module named")
# Said by those that are left when another worker is gone: it is not the cause.
ECHOES = ("Connection closed by peer", "Connection reset", "gloo", "NCCL", "Broken pipe", "Timed out waiting")


def find_loss(failures: Mapping[int, str], nodes: Sequence[str], gone: Sequence[str] = ()) -> Loss:
    """Return the cause of a loss among what was reported of each worker, by rank; `gone` are nodes that were lost meanwhile.

    Workers that only heard of it, because a connection broke, are not the cause.
    """
    if gone:
        return Loss("the node was lost", gone[0])
    ranks = sorted(failures, key=lambda rank: (any(echo in failures[rank] for echo in ECHOES), rank))
    if not ranks:
        return Loss("a worker ended without a word")
    rank, text = ranks[0], failures[ranks[0]]
    if any(echo in text for echo in ECHOES):  # nobody says more than that a connection broke: to whom?
        addresses = re.findall(r"(\d+\.\d+\.\d+\.\d+)\]?:\d+", text)
        far = [name for name in nodes if any(address in name for address in addresses)]
        return Loss("the connection to a worker broke", far[0] if far else "")
    node = nodes[rank] if rank < len(nodes) else ""
    if re.search(r"out.?of.?memory|OOM|memory pressure|MemoryError", text, re.IGNORECASE):
        return Loss("out of memory", node)
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if not line.startswith("raise ")), "unknown").removeprefix(
        "RuntimeError: "
    )
    told = re.search(r"\s*\[on node (.*)\]$", last)
    if told:
        last, node = last[: told.start()], told[1]
    if re.search(r"node.*(died|dead|terminated|lost)", text, re.IGNORECASE):
        return Loss("the node was lost", node)
    if re.search(r"actor (died|is dead)|ActorDiedError|process.*(died|exit)", text, re.IGNORECASE):
        return Loss("a worker process died", node)
    if any(word in text for word in DISK_FULL):
        advice = "make room there, or let LSTM_RELAY_CACHE name a folder on a larger disk"
        return Loss(f"{last[:300]}: {advice}", node, hopeless=True)
    return Loss(last[:300], node, any(word in text for word in NO_HELP))
