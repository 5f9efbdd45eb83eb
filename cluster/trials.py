"""Where the trials of a search go: how many at a time, and what each of them gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cluster.placement import PlacementError


@dataclass(frozen=True)
class TrialPlacement:
    """`num_concurrent` trials at a time, each of `num_workers` workers with a core, and with use_gpu a GPU, each.

    0 workers: the trial's own process is the worker.
    """

    num_concurrent: int
    num_workers: int
    use_gpu: bool
    reason: str


def place_trials(
    num_workers: int, use_gpu: bool | Literal["auto"], resources: Mapping[str, float], num_trials: int
) -> TrialPlacement:
    """Decide how many trials run at a time; raises PlacementError with the arithmetic where not even one can.

    The actor of a data-parallel trial takes no core, its workers do; otherwise the actors could take all cores and their
    workers would wait for ever.
    """
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    with_gpu = gpus > 0 if use_gpu == "auto" else use_gpu
    each = max(num_workers, 1)
    needs = [("core", cpus), *([("GPU", gpus)] if with_gpu else [])]
    for what, there in needs:
        if each > there:
            raise PlacementError(
                f"workers_per_trial = {num_workers}: a trial needs {each} x 1 {what} = {each}, the cluster has {there}: "
                f"write workers_per_trial = {there} or fewer"
                + (", or use_gpu = false in [compute]" if what == "GPU" else "")
            )
    room = min(there // each for _, there in needs)
    arithmetic = ", ".join(f"{there} {what}s / {each} a trial" for what, there in needs)
    return TrialPlacement(max(min(room, num_trials), 1), num_workers, with_gpu, arithmetic)
