"""One Ray Train worker group walks all datasets: what is sent to it, what each worker does, and what comes back."""

from __future__ import annotations

import dataclasses
import importlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.connect import connect, own_cluster, quiet
from cluster.placement import Placement
from data.prepared.cache import Shelf
from data.prepared.encoding import EncodedDataset, Encoding
from data.prepared.prepared import PreparedDataset
from workflows.relay.events import Emit, Working
from workflows.relay.failures import RunFailedError
from workflows.relay.plan import Plan
from workflows.store.store import Store
from workflows.training.channel import Channel

Facts = dict[str, Any]
ELASTIC_INTERVAL_S = 30.0  # how often an elastic group looks for room for more workers
MAX_RESTARTS = 3  # of the worker group, after a worker or its node was lost
MAX_STARTS = 15  # of a group that finds no room, 20 s each (see cluster.connect): 5 minutes for a cluster to scale up
COLLECTIVE_TIMEOUT_S = 600  # a worker that waits longer for the others fails, and the group is started again


@dataclass(frozen=True)
class Job:
    """What a worker needs to know, small enough to be sent to each of them."""

    plan: Plan
    datasets: tuple[tuple[str, str, Encoding], ...]  # fingerprint of the prepared rows, name, encoding
    storage: str
    emit: Emit
    threads: int
    use_gpu: bool


def work(job: Job) -> Facts:
    """What each worker does: walk the relay. Returns what was done, or why the run cannot go on, on all workers alike.

    Anything else that goes wrong is raised: then the worker group is started again and goes on from the store.
    """
    import torch

    from workflows.fit.group import Group
    from workflows.fit.learner import NonFiniteLossError
    from workflows.relay.walk import StoreError, Walker

    before = torch.get_num_threads()
    torch.set_num_threads(job.threads)
    device = "cuda" if job.use_gpu else "cpu"
    shelf = Shelf(job.storage)
    datasets = [EncodedDataset(PreparedDataset(shelf.fetch(rows), name), encoding) for rows, name, encoding in job.datasets]
    group = Group.current()
    if group.rank == 0:
        job.emit(Working(group.size))
    walker = Walker(job.plan, datasets, Store(job.storage), group, job.emit, device)
    try:
        return {**dataclasses.asdict(walker.walk()), "workers": group.size}
    except (NonFiniteLossError, StoreError) as error:
        return {"failed": str(error)}
    finally:
        torch.set_num_threads(before)  # this process may be somebody's notebook


def run_workers(job: Job, placement: Placement, address: str | None, scratch: str) -> Facts:
    """Let the workers do all that the store lacks; returns what they did.

    Raises RunFailedError where the run cannot go on, or where the worker group was lost more than MAX_RESTARTS times.
    With 0 workers Ray Train's local mode runs the same function in this process.
    """
    if placement.num_workers == 0:
        with quiet("ray.train.torch"):
            report: Facts = _trainer(job, placement, scratch).fit().return_value
    else:
        # torch takes a second to import and Ray four to start: beside each other.
        importing = threading.Thread(target=importlib.import_module, args=("torch",), daemon=True)
        importing.start()
        connect(address)
        importing.join()
        with quiet("ray.train.torch"):
            report = _run_group(job, placement, scratch)
    if "failed" in report:
        raise RunFailedError(report["failed"])
    return report


def _run_group(job: Job, placement: Placement, scratch: str) -> Facts:
    from ray.train.v2.api.exceptions import TrainingFailedError

    with Channel(job.emit) as emit:
        trainer = _trainer(dataclasses.replace(job, emit=emit), placement, scratch)
        # Ray Train would catch Ctrl-C and end this process with the code of a failure; here it is a KeyboardInterrupt,
        # and the workers end with the cluster, or with this process's job on it.
        trainer._register_sigint_handler = lambda controller: None
        try:
            report: Facts = trainer.fit().return_value
        except TrainingFailedError as error:
            cause = str(error).strip().splitlines()[-1]
            raise RunFailedError(
                f"the workers were lost more than {MAX_RESTARTS} times, the last time by: {cause}; ray.log in the run's "
                "folder says more, and the same command goes on from the last epoch in the store"
            ) from error
    return report


def _work_on(config: dict[Any, Any]) -> None:
    # Ray Train hands on what its function returns, whatever its type says.
    return work(config["job"])  # type: ignore[return-value]


def _trainer(job: Job, placement: Placement, scratch: str) -> Any:
    """One TorchTrainer for the whole sequence: a trainer for each dataset would cost 12 to 19 s a piece."""
    return trainer_for(_work_on, {"job": job}, placement, scratch)


def trainer_for(work_on: Callable[[dict[Any, Any]], None], config: Facts, placement: Placement, scratch: str) -> Any:
    """A TorchTrainer that calls a function with `config` on each of the placed workers, with limits that are finite."""
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig

    elastic = placement.max_workers > placement.num_workers
    trainer: Any = TorchTrainer(
        work_on,
        train_loop_config=config,
        torch_config=TorchConfig(timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=(placement.num_workers, placement.max_workers) if elastic else placement.num_workers,
            elastic_resize_monitor_interval_s=ELASTIC_INTERVAL_S,
            use_gpu=placement.use_gpu,
            resources_per_worker={"CPU": placement.cpus, **({"GPU": 1} if placement.use_gpu else {})},
        ),
        run_config=RunConfig(  # type: ignore[arg-type]
            name=f"workers-{time.time_ns()}",  # a name that was used before would silently resume that one
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=MAX_RESTARTS, controller_failure_limit=MAX_STARTS),
        ),
    )
    default_callbacks = trainer._create_default_callbacks
    trainer._create_default_callbacks = lambda: _callbacks_of_use(default_callbacks())
    return trainer


def _callbacks_of_use(default: list[Any]) -> list[Any]:
    """Ray Train's callbacks less those that would start a process for nothing.

    One hands out Ray Datasets, of which a group has none. One frees the cores of a controller that has died, which on a
    cluster of this process's own end with it; elsewhere it is not waited for long, as it may ask a cluster that has died
    (see `connect`) who lives: the end of a group took 12 s so.
    """
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

    kept = [each for each in default if not isinstance(each, DatasetsCallback | PlacementGroupCleanerCallback)]
    return kept if own_cluster() else [*kept, PlacementGroupCleanerCallback(stop_timeout=2.0)]
