"""Placement of a search's trials: how many run at a time, and the workers, cores and GPUs of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.capacity import Node, room_for
from cluster.placement import PlacementError


@dataclass(frozen=True)
class TrialPlacement:
    """`num_concurrent` trials at a time, each with `num_workers` workers of `cpus` cores and, with use_gpu, one GPU.

    0 workers: the trial's process trains itself, and `trials_per_gpu` trials share a GPU. `one_node`: all workers of a
    trial run on one machine, so that gradients are averaged without the network.
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
        """Return the share of a GPU of a trial's process, rounded down to Ray's four decimals."""
        return math.floor(10_000 / self.trials_per_gpu) / 10_000


MOST_PER_GPU = 8  # on an H200 twelve trials of an LSTM of 64 units were no faster than eight
FULL_STEP = 1 << 17  # batch size times hidden units that keep a large GPU busy: 2048 x 64 or 512 x 256


def useful_trials_per_gpu(batch_size: int, hidden_size: int) -> int:
    """Return how many trials should share one GPU: as many as fill it together."""
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
    """Decide how many trials run at a time; raises PlacementError with the arithmetic if none fits.

    The actor of a data-parallel trial takes no core, only its workers do; otherwise actors could take all cores and their
    workers would wait for ever. With `trials_per_gpu` "auto", `useful` trials share a GPU, each with a core. If a node
    has room for all workers of a trial, every trial stays on one node.
    """
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    with_gpu = gpus > 0 if use_gpu == "auto" else use_gpu
    workers, cores_each = max(num_workers, 1), cpus_per_worker
    if num_workers and trials_per_gpu not in ("auto", 1):
        raise PlacementError(
            f"trials_per_gpu = {trials_per_gpu} with workers_per_trial = {num_workers}: NCCL, which adds up the gradients, "
            "refuses two workers on one GPU: write workers_per_trial = 0, or trials_per_gpu = 1"
        )
    largest = int(max((node.cores for node in nodes), default=cpus))
    grows = cpus > sum(int(node.cores) for node in nodes)  # by machines of unknown size
    if cores_each > largest and not grows:
        raise PlacementError(
            f"cpus_per_worker = {cores_each}: a worker runs on one node, and the largest has {largest} cores: write "
            f"cpus_per_worker = {largest} or fewer"
        )
    usable = cpus if grows else min(cpus, cores_each * room_for(nodes, float(cores_each)))
    demands = [("core", cpus, cores_each), *([("GPU", gpus, 1)] if with_gpu else [])]
    for resource, available, per_worker in demands:
        if workers * per_worker > available:
            raise PlacementError(
                f"workers_per_trial = {num_workers}: a trial needs {workers} x {per_worker} {resource} = "
                f"{workers * per_worker}, the cluster has {available}: write {_fewer(workers, available, per_worker)}"
                + (", or use_gpu = false in [compute]" if resource == "GPU" else "")
            )
    arithmetic = ", ".join(
        f"{available} {resource}s / {workers * per_worker} a trial" for resource, available, per_worker in demands
    )
    if not with_gpu or num_workers:
        room = min(
            min(available, usable if resource == "core" else available) // (workers * per_worker)
            for resource, available, per_worker in demands
        )
        whole = room_for(nodes, float(workers * cores_each), float(workers * with_gpu)) if num_workers > 1 else 0
        if whole:
            room, arithmetic = whole, f"{arithmetic}, each on one node"
        return TrialPlacement(max(min(room, num_trials), 1), num_workers, with_gpu, arithmetic, 1, cores_each, whole > 0)
    shared = useful if trials_per_gpu == "auto" else trials_per_gpu
    if trials_per_gpu == "auto":  # a trial without a core keeps no GPU busy
        shared = max(min(shared, usable // cores_each // gpus, -(-num_trials // gpus)), 1)
    arithmetic += f", {shared} trials a GPU" if shared > 1 else ""
    return TrialPlacement(
        max(min(usable // cores_each, gpus * shared, num_trials), 1), 0, True, arithmetic, shared, cores_each
    )


def _fewer(workers: int, available: int, per_worker: int) -> str:
    if available >= per_worker:
        return f"workers_per_trial = {available // per_worker} or fewer"
    return f"cpus_per_worker = {max(available // workers, 1)} or fewer"
