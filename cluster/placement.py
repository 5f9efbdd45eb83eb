"""Where the workers of a run go: pure functions from the recipe and what the cluster has to a decision with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _rising(bounds: list[int]) -> list[int]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"num_workers = {bounds} must rise: write {sorted(bounds)}")
    return bounds


Bounds = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2), AfterValidator(_rising)]


class ComputeSettings(BaseModel):
    """How many workers, and on what: the recipe's [compute] section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_workers: Annotated[int, Field(ge=0)] | Bounds | Literal["auto"] = Field(
        "auto", description="data-parallel workers; 0: in this process; [min, max]: as many as there is room for; or auto"
    )
    use_gpu: bool | Literal["auto"] = Field("auto", description="a GPU for each worker; auto: where there are any")


class PlacementError(ValueError):
    """The workers cannot be placed on what the cluster has."""


@dataclass(frozen=True)
class Placement:
    """The decision: 0 workers is this process; each worker gets `cpus` cores and, with use_gpu, one GPU.

    Where `max_workers` is more than `num_workers`, workers are added and taken away as nodes come and go.
    """

    num_workers: int
    max_workers: int
    use_gpu: bool
    cpus: float
    reason: str


SEQUENCES_PER_WORKER = 32  # a worker with fewer sequences of each batch waits more for the others than it computes


def place(compute: ComputeSettings, resources: Mapping[str, float], batch_size: int, here: bool = True) -> Placement:
    """Decide the workers of a run; raises PlacementError with the arithmetic where they do not fit.

    `here` says whether this process is on a machine that is to work: the head of a cluster may have no core to spare.

    "auto": one worker for each GPU if there are any; else one for each core, as long as each of them gets at least 32
    sequences of a batch, and none beside this process where that leaves only one.
    """
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    use_gpu = gpus > 0 if compute.use_gpu == "auto" else compute.use_gpu
    at_most = 0
    if isinstance(compute.num_workers, list):
        num_workers, at_most = compute.num_workers
        reason = f"num_workers = {compute.num_workers}"
    elif compute.num_workers == "auto":
        if use_gpu:
            num_workers, reason = max(gpus, 1), f"one worker for each of {gpus} GPUs"
        else:
            num_workers = max(min(cpus, batch_size // SEQUENCES_PER_WORKER), 1)
            reason = f"{cpus} cores, batches of {batch_size}: at least {SEQUENCES_PER_WORKER} sequences a worker"
        if num_workers == 1 and here:
            num_workers, reason = 0, f"{reason}; one worker is this process"
    else:
        num_workers, reason = compute.num_workers, f"num_workers = {compute.num_workers}"
    if use_gpu and max(num_workers, 1) > gpus:
        raise PlacementError(
            f"{max(num_workers, 1)} workers with a GPU each need {max(num_workers, 1)} GPUs, there are {gpus}"
        )
    # Whole cores where they suffice; never all of them taken by arithmetic alone, so that Ray's own actors start.
    share = min(1.0, cpus / num_workers) if num_workers else 1.0
    if num_workers and share < 0.25:
        raise PlacementError(
            f"{num_workers} workers on {cpus} cores are {num_workers / max(cpus, 1):.1f} a core, at most 4 can be placed: "
            f"write num_workers = {max(cpus, 1) * 4} or fewer"
        )
    return Placement(num_workers, max(num_workers, at_most), use_gpu, share, reason)
