"""Placement of a run's workers: pure functions from the recipe and the nodes to a decision with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cluster.capacity import Capacity, room_for


def _rising(bounds: list[int]) -> list[int]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"num_workers = {bounds} must rise: write {sorted(bounds)}")
    return bounds


Bounds = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2), AfterValidator(_rising)]


class ComputeSettings(BaseModel):
    """The workers and their resources: the recipe's [compute] section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_workers: Annotated[int, Field(ge=0)] | Bounds | Literal["auto"] = Field(
        "auto",
        description="data-parallel workers; 0: this process trains; [min, max]: as many as there is room for; or auto",
    )
    cpus_per_worker: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="cores and threads of each worker; auto: idle cores go to the workers of a large model, and with 0 "
        "workers the number of threads is measured",
    )
    device_memory_gb: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="GB of GPU memory for rows of datasets; rows that do not fit are copied step by step; auto: half of the "
        "free memory",
    )
    use_gpu: bool | Literal["auto"] = Field("auto", description="a GPU for each worker; auto: if there are any")

    @property
    def device_memory(self) -> float | None:
        """Return the GB for rows on a GPU; None: half of the free memory."""
        return None if self.device_memory_gb == "auto" else self.device_memory_gb


class PlacementError(ValueError):
    """The workers cannot be placed on what the cluster has."""


@dataclass(frozen=True)
class Placement:
    """The decision: 0 workers train in this process; each worker gets `cpus` cores and, with use_gpu, one GPU.

    If `max_workers` is more than `num_workers`, workers are added and removed as nodes come and go.
    """

    num_workers: int
    max_workers: int
    use_gpu: bool
    cpus: float
    reason: str


SEQUENCES_PER_WORKER = 32  # with fewer per batch a worker waits longer than it computes
WORKERS_PER_CORE = 4  # with more they only wait for each other
USEFUL_CORES = ((256, 4), (64, 2))  # (at least so many hidden units, cores that a worker keeps busy)


def place(
    compute: ComputeSettings, capacity: Capacity, batch_size: int, in_process: bool = True, hidden_size: int = 0
) -> Placement:
    """Decide the workers of a run; raises PlacementError with the arithmetic if they do not fit.

    A worker runs on one node: three workers on two nodes of one core get half a core each, not 2/3. `in_process` says
    whether this process may train itself: the head of a cluster may have no core to spare.

    "auto": one worker for each GPU if there are any; else one for each core while each gets at least 32 sequences of a
    batch. If that leaves a single worker, it is this process. Machines that the autoscaler may add count.
    """
    use_gpu = capacity.gpus > 0 if compute.use_gpu == "auto" else compute.use_gpu
    at_most = 0
    if isinstance(compute.num_workers, list):
        num_workers, at_most = compute.num_workers
        reason = f"num_workers = {compute.num_workers}"
    elif compute.num_workers == "auto":
        if use_gpu:
            num_workers, reason = max(capacity.gpus, 1), f"one worker for each of {capacity.gpus} GPUs"
        else:
            each = 1 if compute.cpus_per_worker == "auto" else compute.cpus_per_worker
            num_workers = max(min(capacity.cores // each, batch_size // SEQUENCES_PER_WORKER), 1)
            reason = f"{capacity.cores} cores, batches of {batch_size}: at least {SEQUENCES_PER_WORKER} sequences a worker"
        if num_workers == 1 and in_process:
            num_workers, reason = 0, f"{reason}; one worker is this process"
    else:
        num_workers, reason = compute.num_workers, f"num_workers = {compute.num_workers}"
    if use_gpu and max(num_workers, 1) > capacity.gpus:
        by_node = ", ".join(f"{node.name} {node.gpus:g}" for node in capacity.nodes if node.gpus) or "none"
        raise PlacementError(
            f"{max(num_workers, 1)} workers with a GPU each need {max(num_workers, 1)} GPUs, there are {capacity.gpus} "
            f"({by_node}): write num_workers = {capacity.gpus}, or use_gpu = false"
        )
    cores_each = _cores_each(compute, num_workers, use_gpu, capacity, hidden_size)
    if cores_each > 1:
        reason += f"; {cores_each} cores each"
        return Placement(num_workers, max(num_workers, at_most), use_gpu, float(cores_each), reason)
    share = _core_share(num_workers, use_gpu, capacity) if num_workers else 1.0
    if share is None:
        smallest = 1 / WORKERS_PER_CORE
        most = room_for(capacity.grown(), smallest, float(use_gpu))
        raise PlacementError(
            f"{num_workers} workers do not fit on {capacity.cores} cores ({capacity.words()}): at most {WORKERS_PER_CORE} "
            f"share a core, and a worker runs on one node: write num_workers = {max(most, 1)} or fewer"
        )
    if share < 1:
        reason += f"; {capacity.cores} cores ({capacity.words()}): each worker gets {share:.2g} of one"
    return Placement(num_workers, max(num_workers, at_most), use_gpu, share, reason)


def _cores_each(compute: ComputeSettings, num_workers: int, use_gpu: bool, capacity: Capacity, hidden_size: int) -> int:
    """Return the whole cores of each worker; raises PlacementError if cpus_per_worker does not fit."""
    asked, nodes, gpus = compute.cpus_per_worker, capacity.grown(), float(use_gpu)
    if asked == "auto":
        if not num_workers or compute.num_workers != num_workers:
            return 1  # an open number of workers leaves no core idle
        most = next((cores for hidden, cores in USEFUL_CORES if hidden_size >= hidden), 1)
        return next((n for n in range(most, 1, -1) if room_for(nodes, float(n), gpus) >= num_workers), 1)
    if asked > 1 and room_for(nodes, float(asked), gpus) < max(num_workers, 1):
        raise PlacementError(
            f"cpus_per_worker = {asked}: {max(num_workers, 1)} workers with {asked} cores each do not fit on "
            f"{capacity.cores} cores ({capacity.words()}), and a worker runs on one node: write a smaller cpus_per_worker"
        )
    return asked


def _core_share(num_workers: int, use_gpu: bool, capacity: Capacity) -> float | None:
    """Return the largest share of a core, at most 1, with which all workers fit; None if it would be too small."""
    nodes = capacity.grown()
    shares = {1.0} | {
        min(node.cores / count, 1.0)
        for node in set(nodes)
        for count in range(1, min(int(node.cores * WORKERS_PER_CORE), num_workers) + 1)
    }
    for share in sorted(shares, reverse=True):
        exact = math.floor(share * 10_000) / 10_000  # Ray counts cores to four decimals
        if exact >= 1 / WORKERS_PER_CORE and room_for(nodes, exact, float(use_gpu)) >= num_workers:
            return exact
    return None
