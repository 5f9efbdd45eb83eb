"""Choose between threads and workers on this machine, by the measured time of a step.

No rule fits every machine: on two idle cores two threads ran 1.6 to 2.1 times the steps of one, on two busy cores a third
to a half. So the first steps are measured, once for each machine, model and batch size. The choice changes results
only by rounding; it is stored so that the same machine rounds the same way next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from cluster.placement import SEQUENCES_PER_WORKER, ComputeSettings, Placement
from data.prepared.cache import cache_home
from data.prepared.encoding import EncodedDataset
from data.writing import write_whole
from workflows.relay.plan import Plan

SHORT_RUN_S = 5.0  # a shorter run is not worth measuring
GAIN = 0.9  # more threads are used if a step takes at most this share of its time with fewer
WORKERS_GAIN = 0.8  # workers are used if the estimated time of the run is at most this share of that in one process
START_S = 12.0  # start of a worker group
REDUCE_S, REDUCE_PER_WORKER_S = 0.0005, 0.0007  # all-reduce of the gradients by gloo, measured with 2 to 16 workers


@dataclass(frozen=True)
class Speeds:
    """Measured seconds of a step: by threads in one process, and of a worker's share of a batch by number of workers."""

    threads: Mapping[int, float]
    shares: Mapping[int, float]
    took_seconds: float = 0.0

    @staticmethod
    def read(text: str) -> Speeds:
        """Parse stored speeds."""
        content = json.loads(text)
        threads, shares = ({int(n): float(s) for n, s in content[kind].items()} for kind in ("threads", "shares"))
        return Speeds(threads, shares, float(content["took_seconds"]))


def powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4, ... and `most` itself."""
    return sorted({2**n for n in range(most.bit_length()) if 2**n <= most} | {most})


def choose(placement: Placement, speeds: Speeds, steps: int, may_add_workers: bool) -> Placement:
    """Decide between one process and workers, from values alone."""
    threads = 1
    for number, seconds in sorted(speeds.threads.items()):
        if seconds < GAIN * speeds.threads[threads]:
            threads = number
    alone = steps * speeds.threads[threads]
    times = ", ".join(f"{number}: {1000 * seconds:.3g} ms" for number, seconds in sorted(speeds.threads.items()))
    reason = f"a step by threads, measured in {speeds.took_seconds:.1f} s: {times}"
    if may_add_workers and speeds.shares:
        each = {n: seconds + REDUCE_S + REDUCE_PER_WORKER_S * n for n, seconds in speeds.shares.items()}
        number = min(each, key=lambda n: each[n])
        if START_S + steps * each[number] < WORKERS_GAIN * alone:
            reason += f"; with {number} workers about {1000 * each[number]:.3g} ms"
            return replace(placement, num_workers=number, max_workers=number, cpus=1.0, reason=reason)
    return replace(placement, num_workers=0, max_workers=0, cpus=float(threads), reason=reason)


def with_cores(
    placement: Placement, asked: ComputeSettings, plan: Plan, datasets: Sequence[EncodedDataset], cores: int
) -> Placement:
    """Return the placement of a run on the cores of this machine.

    A number of workers or cores in the recipe is used unchanged.
    """
    auto = asked.num_workers == "auto"
    if placement.use_gpu or not (auto or placement.num_workers == 0) or asked.cpus_per_worker != "auto" or cores < 2:
        return placement
    steps = sum(plan.steps_an_epoch(stage) * stage.epochs for stage in plan.stages)
    home = cache_home() / "speeds" / f"{_key(plan, datasets[0], cores)}.json"
    speeds = None
    with contextlib.suppress(OSError, ValueError, KeyError):
        speeds = Speeds.read(home.read_text())
    if speeds is None:
        speeds = _measure(plan, datasets[0], cores, steps)
        if speeds is None:
            return replace(placement, num_workers=0, max_workers=0, cpus=1.0, reason="a short run: this process, one thread")
        _keep(speeds, home)
    return choose(placement, speeds, steps, auto)


def _measure(plan: Plan, dataset: EncodedDataset, cores: int, steps: int) -> Speeds | None:
    """Measure the seconds of a step; None if the run is too short to be worth measuring."""
    import torch

    from workflows.fit.calibration import seconds_a_step
    from workflows.fit.group import Group
    from workflows.fit.lanes import HostLane
    from workflows.fit.learner import Learner
    from workflows.relay.state import first_model

    def learner(threads: int) -> Learner:
        lane = HostLane(torch.device("cpu"), threads)
        return Learner(first_model(plan), plan.model, plan.training, Group(), lane=lane)

    started = time.perf_counter()
    size = min(plan.training.batch_size, dataset.num_samples("train"))
    (alone,) = seconds_a_step(learner, dataset, [(1, size)])
    if alone * steps < SHORT_RUN_S:
        return None
    counts = powers_of_two(cores)
    workers = [n for n in counts[1:] if size // n >= SEQUENCES_PER_WORKER]
    kinds = [(n, size) for n in counts] + [(1, size // n) for n in workers]
    seconds = seconds_a_step(learner, dataset, kinds)
    took = time.perf_counter() - started
    return Speeds(dict(zip(counts, seconds, strict=False)), dict(zip(workers, seconds[len(counts) :], strict=True)), took)


def _key(plan: Plan, dataset: EncodedDataset, cores: int) -> str:
    """Return a hash of everything that affects the time of a step: machine, torch, model and batch size."""
    lengths = dataset.lengths("train")
    facts = {
        "threads": "each with samples of its own",
        "machine": [platform.node(), platform.machine(), cores, version("torch")],
        "model": [plan.model.model_dump(mode="json"), plan.num_features, plan.num_outputs],
        "step": [plan.training.batch_size, plan.training.precision, int(lengths.max(initial=1))],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _keep(speeds: Speeds, home: Path) -> None:
    with contextlib.suppress(OSError):  # a machine without a home measures each time
        home.parent.mkdir(parents=True, exist_ok=True)
        write_whole(home, json.dumps(asdict(speeds)).encode())
