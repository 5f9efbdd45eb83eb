"""Where the trials of a search go: how many at a time, and what each of them gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.capacity import Node, room_for
from cluster.placement import PlacementError


@dataclass(frozen=True)
class TrialPlacement:
    """`num_concurrent` trials at a time, each of `num_workers` workers with `cpus` cores, and with use_gpu a GPU, each.

    0 workers: the trial's own process is the worker, and `trials_per_gpu` of them share a GPU. `one_node`: all workers of
    a trial are on one machine, so that they add up their gradients without the network.
    """

    num_concurrent: int
    num_workers: int
    use_gpu: bool
    reason: str
    trials_per_gpu: int = 1
    cpus: int = 1
    one_node: bool = False

    @property
    def gpu_share(self) -> float:
        """Return the share of a GPU that a trial's process asks Ray for, to the fourth digit that Ray counts to."""
        return math.floor(10_000 / self.trials_per_gpu) / 10_000


MOST_PER_GPU = 8  # on an H200 twelve trials of an LSTM of 64 units were no faster than eight
FULL_STEP = 1 << 17  # samples of a step times hidden units that keep a large GPU busy: 2048 x 64 or 512 x 256


def useful_trials_per_gpu(batch_size: int, hidden_size: int) -> int:
    """Return how many trials one GPU is worth sharing among: those whose steps fill it together."""
    return max(min(FULL_STEP // (batch_size * hidden_size), MOST_PER_GPU), 1)


def place_trials(
    num_workers: int,
    use_gpu: bool | Literal["auto"],
    resources: Mapping[str, float],
    num_trials: int,
    trials_per_gpu: int | Literal["auto"] = 1,
    useful: int = 1,
    nodes: Sequence[Node] = (),
    cpus_per_worker: int = 1,
) -> TrialPlacement:
    """Decide how many trials run at a time; raises PlacementError with the arithmetic where not even one can.

    The actor of a data-parallel trial takes no core, its workers do; otherwise the actors could take all cores and their
    workers would wait for ever. `useful` trials share a GPU where `trials_per_gpu` is "auto", each with a core.
    Where a node of `nodes` holds all workers of a trial, each trial stays on one.
    """
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    with_gpu = gpus > 0 if use_gpu == "auto" else use_gpu
    each, own = max(num_workers, 1), cpus_per_worker
    if num_workers and trials_per_gpu not in ("auto", 1):
        raise PlacementError(
            f"trials_per_gpu = {trials_per_gpu} with workers_per_trial = {num_workers}: NCCL, which adds up the gradients, "
            "refuses two workers on one GPU: write workers_per_trial = 0, or trials_per_gpu = 1"
        )
    largest = int(max((node.cores for node in nodes), default=cpus))
    grows = cpus > sum(int(node.cores) for node in nodes)  # by machines of which nobody knows how large they are
    if own > largest and not grows:
        raise PlacementError(
            f"cpus_per_worker = {own}: a worker is on one node, and none has {own} cores, the largest has {largest}: write "
            f"cpus_per_worker = {largest} or fewer"
        )
    usable = cpus if grows else min(cpus, own * room_for(nodes, float(own)))
    needs = [("core", cpus, own), *([("GPU", gpus, 1)] if with_gpu else [])]
    for what, there, one in needs:
        if each * one > there:
            raise PlacementError(
                f"workers_per_trial = {num_workers}: a trial needs {each} x {one} {what} = {each * one}, the cluster has "
                f"{there}: write {_fewer(each, there, one)}" + (", or use_gpu = false in [compute]" if what == "GPU" else "")
            )
    arithmetic = ", ".join(f"{there} {what}s / {each * one} a trial" for what, there, one in needs)
    if not with_gpu or num_workers:
        room = min(min(there, usable if what == "core" else there) // (each * one) for what, there, one in needs)
        whole = room_for(nodes, float(each * own), float(each * with_gpu)) if num_workers > 1 else 0
        if whole:
            room, arithmetic = whole, f"{arithmetic}, each on one node"
        return TrialPlacement(max(min(room, num_trials), 1), num_workers, with_gpu, arithmetic, 1, own, whole > 0)
    shared = useful if trials_per_gpu == "auto" else trials_per_gpu
    if trials_per_gpu == "auto":  # a trial that waits for a core keeps no GPU busy; nor do more trials than there are
        shared = max(min(shared, usable // own // gpus, -(-num_trials // gpus)), 1)
    arithmetic += f", {shared} trials a GPU" if shared > 1 else ""
    return TrialPlacement(max(min(usable // own, gpus * shared, num_trials), 1), 0, True, arithmetic, shared, own)


def _fewer(each: int, there: int, one: int) -> str:
    if there >= one:
        return f"workers_per_trial = {there // one} or fewer"
    return f"cpus_per_worker = {max(there // each, 1)} or fewer"
