"""Decisions for workers that cannot start or were lost: pure functions; `workflows/training/attempts.py` acts on them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.capacity import Capacity, Node, room_for
from cluster.placement import Placement

ROOM_LIMIT_S = 600.0  # wait for cores that other jobs use
GROWTH_LIMIT_S = 900.0  # wait for machines that the autoscaler may add
MAX_LOSSES = 3  # losses of workers in a row without an epoch in between
MAX_TAKEN = 15  # times in a row that another job takes the room before the workers start


@dataclass(frozen=True)
class Start:
    """Start `num_workers` with `cpus` cores each, which may grow to `max_workers`; `words` is the message."""

    num_workers: int
    max_workers: int
    words: str = ""
    cpus: float = 1.0


@dataclass(frozen=True)
class Wait:
    """Wait up to `limit_s` for room for `num_workers` of `cpus` cores; `shrinks`: for fewer if the nodes have less."""

    num_workers: int
    limit_s: float
    shrinks: bool = True
    cpus: float = 1.0


@dataclass(frozen=True)
class GiveUp:
    """End the run; `why` is the message."""

    why: str


@dataclass(frozen=True)
class Loss:
    """Why a group ended, the node if known, and whether a retry is hopeless."""

    cause: str
    node: str = ""
    hopeless: bool = False

    def words(self) -> str:
        """Return the loss for a message."""
        return f"{self.node}: {self.cause}" if self.node else self.cause


def first_step(placement: Placement, capacity: Capacity) -> Wait:
    """Return the first wait of a run: for room for its workers, and for machines that the autoscaler adds."""
    if capacity.grows:
        return Wait(placement.num_workers, GROWTH_LIMIT_S, shrinks=False, cpus=placement.cpus)
    return Wait(placement.num_workers, ROOM_LIMIT_S, cpus=placement.cpus)


def reconsider(placement: Placement, wait: Wait, capacity: Capacity) -> Wait:
    """Update a wait to the nodes that are alive now: Ray reports a lost node seconds after its workers."""
    fits, cpus = what_fits(placement, capacity.nodes)
    return Wait(fits, wait.limit_s, cpus=cpus) if wait.shrinks and fits else wait


def after_wait(placement: Placement, wait: Wait, free: Sequence[Node], waited_s: float, is_free: bool) -> Start | GiveUp:
    """Decide what follows a wait; `is_free` says whether the room became free.

    Even a fixed number of workers is not waited for without limit: the result of a run does not depend on it. The group
    starts with as many workers as fit, and grows as soon as there is more room.
    """
    fits, cpus = (wait.num_workers, wait.cpus) if is_free else what_fits(placement, free)
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
    """Decide what follows the loss of workers, `losses` times in a row without finishing an epoch.

    If fewer workers fit on the remaining nodes, these start at once; the group grows when a node is added.
    """
    if loss.hopeless:
        return GiveUp(loss.words())
    if losses > MAX_LOSSES:
        return GiveUp(f"the workers were lost {losses} times in a row without finishing an epoch, last: {loss.words()}")
    return _room_now(placement, capacity)


def after_taken(placement: Placement, capacity: Capacity, times: int) -> Wait | GiveUp:
    """Decide what follows if the room for workers was taken, or its node lost, before they had started."""
    if times > MAX_TAKEN:
        return GiveUp(f"the room for the workers was taken {times} times before they could start")
    return _room_now(placement, capacity)


def _room_now(placement: Placement, capacity: Capacity) -> Wait:
    fits, cpus = what_fits(placement, capacity.nodes)
    limit = GROWTH_LIMIT_S if capacity.grows else ROOM_LIMIT_S
    return Wait(fits or placement.num_workers, limit, cpus=cpus)


def what_fits(placement: Placement, nodes: Sequence[Node]) -> tuple[int, float]:
    """Return how many of the workers fit on the nodes, and the cores of each.

    They get fewer cores only if not even one worker of full size fits.
    """
    for cpus in (placement.cpus, *map(float, range(math.ceil(placement.cpus) - 1, 0, -1))):
        fits = min(room_for(nodes, cpus, float(placement.use_gpu)), placement.num_workers)
        if fits:
            return fits, cpus
    return 0, placement.cpus


def workers(count: int) -> str:
    """Return a number of workers for a message."""
    return "1 worker" if count == 1 else f"{count} workers"


def size_of(placement: Placement) -> str:
    """Return the size of a worker for a message."""
    cores = "1 core" if placement.cpus == 1 else f"{placement.cpus:.2g} cores"
    return cores + (" and a GPU" if placement.use_gpu else "")


def free_words(free: Sequence[Node]) -> str:
    """Return the free cores of each node for a message."""
    shown = [f"{node.name} {node.cores:g}" for node in free if node.cores or node.gpus]
    return ("cores " + ", ".join(shown[:8]) + (" ..." if len(shown) > 8 else "")) if shown else "no core is"


def waiting_words(placement: Placement, wait: Wait, free: Sequence[Node], capacity: Capacity, waited_s: float) -> str:
    """Return the message of a wait: for what, since when and why."""
    why = f"the nodes have {capacity.words()} in all, {free_words(free)} free"
    if capacity.grows:
        why += f"; the cluster may grow to {capacity.cores} cores" + (f" and {capacity.gpus} GPUs" if capacity.gpus else "")
    size = size_of(replace(placement, cpus=wait.cpus))
    return f"waiting for room for {workers(wait.num_workers)} of {size} since {waited_s:.0f} s: {why}"


ON_NODE = "[on node {}]"  # suffix of a worker's error message
DISK_FULL = ("No space left on device", "Disk quota exceeded")
NO_HELP = ("ModuleNotFoundError", "ImportError", "No module named")
# Errors of the workers that remain when another is gone; not the cause.
ECHOES = ("Connection closed by peer", "Connection reset", "gloo", "NCCL", "Broken pipe", "Timed out waiting")


def find_loss(failures: Mapping[int, str], nodes: Sequence[str], gone: Sequence[str] = ()) -> Loss:
    """Return the cause of a loss from the error texts by rank; `gone` are the nodes that were lost meanwhile.

    Workers with only a broken connection are not the cause.
    """
    if gone:
        return Loss("the node was lost", gone[0])
    ranks = sorted(failures, key=lambda rank: (any(echo in failures[rank] for echo in ECHOES), rank))
    if not ranks:
        return Loss("a worker ended without an error message")
    rank, text = ranks[0], failures[ranks[0]]
    if any(echo in text for echo in ECHOES):  # only broken connections: find the node at the other end
        addresses = re.findall(r"(\d+\.\d+\.\d+\.\d+)\]?:\d+", text)
        other_ends = [name for name in nodes if any(address in name for address in addresses)]
        return Loss("the connection to a worker broke", other_ends[0] if other_ends else "")
    node = nodes[rank] if rank < len(nodes) else ""
    if re.search(r"out.?of.?memory|OOM|memory pressure|MemoryError", text, re.IGNORECASE):
        return Loss("out of memory", node)
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if not line.startswith("raise ")), "unknown").removeprefix(
        "RuntimeError: "
    )
    suffix = re.search(r"\s*\[on node (.*)\]$", last)
    if suffix:
        last, node = last[: suffix.start()], suffix[1]
    if re.search(r"node.*(died|dead|terminated|lost)", text, re.IGNORECASE):
        return Loss("the node was lost", node)
    if re.search(r"actor (died|is dead)|ActorDiedError|process.*(died|exit)", text, re.IGNORECASE):
        return Loss("a worker process died", node)
    if any(word in text for word in DISK_FULL):
        advice = "free disk space there, or set LSTM_RELAY_CACHE to a folder on a larger disk"
        return Loss(f"{last[:300]}: {advice}", node, hopeless=True)
    return Loss(last[:300], node, any(word in text for word in NO_HELP))
