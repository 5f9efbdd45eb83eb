"""Everything that uses Ray beyond its public API, each with a fallback that works without it.

Ray may change what is private in a version outside `TESTED`. Then the fallback is used: the run is slower or says less, and
its result is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from typing import Any

from cluster.capacity import Node, name_of

TESTED = ((2, 52), (2, 60))  # oldest (make test-oldest) and newest (make test) minor version of Ray that the tests run on
DATA_LIMITS_INTERVAL_S = 0.1


def _tested() -> bool:
    major, minor, *_ = version("ray").split(".")
    return TESTED[0] <= (int(major), int(minor)) <= TESTED[-1]


def update_data_limits_often() -> None:
    """Let Ray Data look for free cores ten times a second; fallback: once a second.

    Before its first look it runs one task at a time. No public setting shortens that: DataContext has none.
    """
    if not _tested():
        return
    try:
        from ray.data._internal.execution.resource_manager import ResourceManager
    except ImportError:
        return
    if hasattr(ResourceManager, "GLOBAL_LIMITS_UPDATE_INTERVAL_S"):
        ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = DATA_LIMITS_INTERVAL_S  # type: ignore[assignment]


def times_lost() -> int:
    """Return how often the task that calls this was lost before, with its process or node; fallback: 0."""
    try:
        import ray._private.worker

        worker = ray._private.worker.global_worker.core_worker  # type: ignore[attr-defined]
        return int(worker.get_current_task_attempt_number()) if _tested() else 0
    except Exception:  # what is private may raise anything
        return 0


def show_worker_ends(shown: bool) -> None:
    """Let Ray print the end of a worker on the screen or not; fallback: it prints.

    It prints it also with log_to_driver=False, and has no setting for that.
    """
    import ray._private.worker

    if hasattr(ray._private.worker, "_worker_logs_enabled"):
        ray._private.worker._worker_logs_enabled = shown


def grows_to() -> dict[str, float]:
    """Return the cores and GPUs that the cluster's autoscaler may bring it to.

    Fallback: nothing, and the environment's LSTM_RELAY_GROWS_TO_CPUS and _GPUS say it.
    """
    if not _tested():
        return {}
    try:
        from ray._private.state import state

        found = state.get_max_resources_from_cluster_config() or {}
    except Exception:  # what is private may raise anything
        return {}
    # An autoscaler without a limit says 2**63 - 1, which is no number of machines.
    return {kind: float(found[kind]) for kind in ("CPU", "GPU") if 0 < found.get(kind, 0) < 1 << 20}


def free_nodes() -> tuple[Node, ...]:
    """The nodes with the cores and GPUs that are free now; fallback: one node with what is free in the whole cluster."""
    import ray

    alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]
    try:
        from ray._private.state import available_resources_per_node

        free = available_resources_per_node() if _tested() else {}  # type: ignore[no-untyped-call]
    except Exception:
        free = {}
    if not free:
        total = ray.available_resources()  # type: ignore[no-untyped-call]
        return (Node("the cluster", float(total.get("CPU", 0)), float(total.get("GPU", 0))),)
    return tuple(
        Node(name_of(alive[number]), float(each.get("CPU", 0)), float(each.get("GPU", 0)))
        for number, each in free.items()
        if number in alive
    )


def scaling_of(num_workers: int, max_workers: int, interval_s: float) -> dict[str, Any]:
    """Return ScalingConfig's arguments for a group that looks for room for more workers every `interval_s` seconds.

    Fallback where Ray Train has no elastic groups, as in 2.52: a group of `num_workers` until it ends or is lost.
    """
    from ray.train import ScalingConfig

    interval = "elastic_resize_monitor_interval_s"
    if max_workers <= num_workers or interval not in {each.name for each in fields(ScalingConfig)}:
        return {"num_workers": num_workers}
    return {"num_workers": (num_workers, max_workers), interval: interval_s}


def adapt_trainer(trainer: Any, own_cluster: bool) -> Any:
    """Take from a Ray Train trainer what gets in the way here; fallback: it is left as it is.

    Its handler of Ctrl-C would end this process with the code of a failure; here Ctrl-C is a KeyboardInterrupt, and the
    workers end with the cluster, or with this process's job on it. Two of its callbacks would start a process each.
    """
    if not _tested():
        return trainer
    if hasattr(trainer, "_register_sigint_handler"):
        trainer._register_sigint_handler = lambda controller: None
    default: Callable[[], list[Any]] | None = getattr(trainer, "_create_default_callbacks", None)
    if default is not None:
        trainer._create_default_callbacks = lambda: _callbacks_of_use(default(), own_cluster)
    return trainer


def _callbacks_of_use(default: list[Any], own_cluster: bool) -> list[Any]:
    """Ray Train's callbacks less those that would start a process for nothing.

    One hands out Ray Datasets, of which a group has none. One frees the cores of a controller that has died, which on a
    cluster of this process's own end with it; elsewhere it is not waited for long, as it may ask a cluster that has died
    (see `connect`) who lives: the end of a group took 12 s so.
    """
    try:
        from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
        from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
    except ImportError:
        return default
    kept = [each for each in default if not isinstance(each, DatasetsCallback | PlacementGroupCleanerCallback)]
    return kept if own_cluster else [*kept, PlacementGroupCleanerCallback(stop_timeout=2.0)]
