"""One Ray Train worker group walks all datasets: its job, the work of each worker, and the events it returns."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.capacity import name_of
from cluster.connect import connect, own_cluster, quiet
from cluster.placement import Placement
from cluster.ray_compat import adapt_trainer, scaling_of
from cluster.recovery import ON_NODE, Start
from cluster.watching import watching
from data.prepared.cache import PreparedCache
from data.prepared.reference import DatasetRef
from workflows.relay.events import Emit, Noticed, RunEvent, Walked, Working
from workflows.relay.failures import RunFailedError
from workflows.relay.plan import Plan
from workflows.store.store import Store
from workflows.training import attempts
from workflows.training.channel import Channel, Sender
from workflows.training.reporting import StageReports

ELASTIC_INTERVAL_S = 30.0  # interval at which an elastic group checks for more workers
MAX_RESTARTS = 3  # restarts of a trial's worker group after a loss
MAX_STARTS = 15  # attempts to place it, 20 s each (see cluster.connect): 5 minutes
COLLECTIVE_TIMEOUT_S = 600  # a worker that waits longer for the others fails, and the group is started again


@dataclass(frozen=True)
class Job:
    """The job of each worker; small, because it is sent to each of them."""

    plan: Plan
    datasets: tuple[DatasetRef, ...]
    storage: str
    emit: Emit
    threads: int
    use_gpu: bool
    device_memory_gb: float | None = None  # GB of a GPU for rows; None: half of the free memory
    run: str = ""  # id of this call, the same for all of its worker groups
    beside: tuple[tuple[Plan, tuple[int, ...]], ...] = ()  # more plans to walk, each with the indices of its datasets


def _nodes_of(group: Any) -> list[str]:
    """Return the node of each worker, by rank; empty if this process is the only worker."""
    if group.size == 1 and "ray" not in sys.modules:
        return []
    import ray
    import torch.distributed as dist

    if not ray.is_initialized() or not dist.is_initialized():
        return []
    nodes: list[Any] = [None] * group.size
    dist.all_gather_object(nodes, _this_node())
    return nodes


def _this_node() -> str:
    import ray

    host, address = socket.gethostname(), ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return name_of({"NodeManagerHostname": host, "NodeManagerAddress": address})


def work(job: Job) -> None:
    """Walk the relay as one worker; the first one reports the end, including a failure the run cannot survive.

    Any other error is raised: then the worker group is restarted and resumes from the store.
    """
    import torch

    from workflows.fit.device_lane import lane_for
    from workflows.fit.errors import NonFiniteLossError
    from workflows.fit.group import Group
    from workflows.fit.joint import Joint
    from workflows.relay.walk import StoreError, Walker

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the fit uses its own threads: see workflows.fit.threads
    device = "cuda" if job.use_gpu else "cpu"
    prepared_cache = PreparedCache(job.storage)
    datasets = [reference.open(prepared_cache) for reference in job.datasets]
    group = Group.current()
    nodes = _nodes_of(group)
    if group.rank == 0:
        job.emit(Working(group.size, tuple(nodes)))
    store = Store(job.storage)
    store.leases.run = job.run
    reports = StageReports(group, len(job.plan.stages))
    # Ray Train's local mode, in this process, has no controller to report to.
    evaluated = reports if nodes else lambda done: None
    lane = lane_for(torch.device(device), job.plan.model, job.device_memory_gb, job.threads)
    walker = Walker(job.plan, datasets, store, group, job.emit, device, evaluated, lane)
    try:
        walker.walk()
        for plan, numbers in job.beside:
            trained_on = [datasets[number] for number in numbers]
            walked_datasets = [*trained_on, Joint(trained_on)] if plan.joint else trained_on
            Walker(plan, walked_datasets, store, group, job.emit, device).walk()
        walked = Walked(group.size)
    except (NonFiniteLossError, StoreError) as error:
        walked = Walked(group.size, str(error))
    finally:
        torch.set_num_threads(before)  # this process may be a notebook
    if group.rank == 0:
        job.emit(walked)
        if isinstance(job.emit, Sender):
            job.emit.wait()


def run_workers(job: Job, placement: Placement, address: str | None, scratch: str) -> int:
    """Let the workers train everything that the store lacks; returns their number at the end.

    Raises RunFailedError if the run cannot continue, or if workers were lost too often. With 0 workers Ray Train's local
    mode runs the same function in this process. Results of a group are events: Ray Train 2.52 returns no values.
    """
    ended: list[Walked] = []

    def listen(event: RunEvent) -> None:
        if isinstance(event, Walked):
            ended.append(event)
        else:
            job.emit(event)

    listened = dataclasses.replace(job, emit=listen)
    if placement.num_workers == 0:
        with quiet("ray.train.torch"):
            _trainer(listened, placement, scratch).fit()
    else:
        _connect_and_import(address)
        with quiet("ray.train.torch"):
            _run_group(listened, placement, scratch)
    if not ended:
        raise RunFailedError("the workers ended without a result: run the same command to resume from the store")
    if ended[-1].failed is not None:
        raise RunFailedError(ended[-1].failed)
    return ended[-1].workers


def _connect_and_import(address: str | None) -> None:
    """Connect to Ray, which takes four seconds, and import torch in parallel, which takes one.

    The import always completes: if the process ended during it, torch's libraries would crash and hide the real error.
    """
    importing = threading.Thread(target=importlib.import_module, args=("torch",))
    importing.start()
    try:
        connect(address)
    finally:
        importing.join()


def _run_group(job: Job, placement: Placement, scratch: str) -> None:
    group = attempts.Group()

    def hear(event: RunEvent) -> None:
        group.hear(event)
        job.emit(event)

    # On a local cluster no nodes join or leave.
    nodes = contextlib.nullcontext() if own_cluster() else watching(lambda words: job.emit(Noticed(words)))
    with nodes, Channel(hear) as emit:

        def fit(start: Start) -> None:
            current = dataclasses.replace(
                placement, num_workers=start.num_workers, max_workers=start.max_workers, cpus=start.cpus
            )
            started_job = dataclasses.replace(job, emit=emit, threads=max(int(start.cpus), 1))
            # This process decides what follows a loss, because it knows the nodes: see attempts.py.
            elastic = current.max_workers > current.num_workers
            with attempts.start_timeout(attempts.ELASTIC_START_S if elastic else None):
                starts = attempts.ELASTIC_STARTS if elastic else 0
                trainer_for(_work_on, {"job": started_job}, current, scratch, max_restarts=0, max_starts=starts).fit()

        attempts.run_attempts(fit, placement, group, job.emit)


def _work_on(config: dict[Any, Any]) -> None:
    try:
        work(config["job"])
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__}: {error} {ON_NODE.format(_this_node())}") from error


def _trainer(job: Job, placement: Placement, scratch: str) -> Any:
    """Return one TorchTrainer for the whole sequence: a trainer for each dataset would cost 12 to 19 s each."""
    return trainer_for(_work_on, {"job": job}, placement, scratch)


def trainer_for(
    work_on: Callable[[dict[Any, Any]], None],
    config: dict[str, Any],
    placement: Placement,
    scratch: str,
    max_restarts: int = MAX_RESTARTS,
    max_starts: int = MAX_STARTS,
    strategy: str = "PACK",
) -> Any:
    """Return a TorchTrainer that calls a function with `config` on each placed worker, with finite limits.

    `strategy` is Ray's for placement groups: PACK uses few nodes, STRICT_PACK uses one.
    """
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig

    from workflows.training.backend import NodeAddressConfig

    trainer: Any = TorchTrainer(
        work_on,
        train_loop_config=config,
        torch_config=NodeAddressConfig(timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            **scaling_of(placement.num_workers, placement.max_workers, ELASTIC_INTERVAL_S),
            use_gpu=placement.use_gpu,
            placement_strategy=strategy,
            resources_per_worker={"CPU": placement.cpus, **({"GPU": 1} if placement.use_gpu else {})},
        ),
        run_config=RunConfig(  # type: ignore[arg-type]
            name=f"workers-{time.time_ns()}",  # a reused name would silently resume the earlier run
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=max_restarts, controller_failure_limit=max_starts),
        ),
    )
    return adapt_trainer(trainer, own_cluster())
