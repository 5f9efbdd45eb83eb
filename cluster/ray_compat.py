"""Every use of Ray beyond its public API, each with a fallback.

Outside the `TESTED` versions of Ray private names may have changed, so the fallback is used: the run is slower or prints
less, with the same result.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from typing import Any

from cluster.capacity import Node, name_of

TESTED = ((2, 52), (2, 60))  # oldest (make test-oldest) and newest (make test) minor version of Ray that the tests run on
DATA_LIMITS_INTERVAL_S = 0.1


def _version() -> tuple[int, int]:
    major, minor, *_ = version("ray").split(".")
    return int(major), int(minor)


def _tested() -> bool:
    return TESTED[0] <= _version() <= TESTED[-1]


def authorize_metrics(token: str) -> None:
    """Let a cluster that requires a token accept the gauges of this process; call it before connecting.

    Ray 2.52 sends metrics to the node's agent without the token, and the agent refuses them (ray-project/ray issue 59361,
    mended in 2.53). Its exporter takes headers from the environment. Fallback where an OTLP variable is set already, so
    that another exporter of this process may send the token elsewhere: nothing is set, and 2.52 shows no gauges.
    """
    if _version() == (2, 52) and not any(name.startswith("OTEL_EXPORTER_OTLP_") for name in os.environ):
        os.environ["OTEL_EXPORTER_OTLP_METRICS_HEADERS"] = f"authorization=Bearer {token}"


def update_data_limits_often() -> None:
    """Let Ray Data look for free cores ten times a second; fallback: once a second.

    Until its first look it runs one task at a time. DataContext has no setting for the interval.
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
    """Return how often Ray has lost the calling task, with its process or node; fallback: 0."""
    try:
        import ray._private.worker

        worker = ray._private.worker.global_worker.core_worker  # type: ignore[attr-defined]
        return int(worker.get_current_task_attempt_number()) if _tested() else 0
    except Exception:  # a private name may raise anything
        return 0


def show_worker_ends(shown: bool) -> None:
    """Choose whether Ray prints the end of a worker; fallback: it prints it.

    It does so even with log_to_driver=False, and has no setting for it.
    """
    import ray._private.worker

    if hasattr(ray._private.worker, "_worker_logs_enabled"):
        ray._private.worker._worker_logs_enabled = shown


def grows_to() -> dict[str, float]:
    """Return the limits of the cluster's autoscaler: cores and GPUs.

    Fallback: none; LSTM_RELAY_GROWS_TO_CPUS and _GPUS in the environment replace them.
    """
    if not _tested():
        return {}
    try:
        from ray._private.state import state

        limits = state.get_max_resources_from_cluster_config() or {}
    except Exception:  # a private name may raise anything
        return {}
    # An autoscaler without a limit reports 2**63 - 1.
    return {kind: float(limits[kind]) for kind in ("CPU", "GPU") if 0 < limits.get(kind, 0) < 1 << 20}


def free_nodes() -> tuple[Node, ...]:
    """Return the nodes with their free cores and GPUs; fallback: one node with the sum over the cluster."""
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

    Fallback for Ray Train without elastic groups (2.52): `num_workers` until the group ends or is lost.
    """
    from ray.train import ScalingConfig

    interval = "elastic_resize_monitor_interval_s"
    if max_workers <= num_workers or interval not in {each.name for each in fields(ScalingConfig)}:
        return {"num_workers": num_workers}
    return {"num_workers": (num_workers, max_workers), interval: interval_s}


def adapt_trainer(trainer: Any, own_cluster: bool) -> Any:
    """Remove a Ray Train trainer's Ctrl-C handler and unneeded callbacks; fallback: it is unchanged.

    The handler would end this process with the exit code of a failure. We need a KeyboardInterrupt; the workers end with
    the local cluster or with this process's job. Two of the callbacks would start a process each.
    """
    if not _tested():
        return trainer
    if hasattr(trainer, "_register_sigint_handler"):
        trainer._register_sigint_handler = lambda controller: None
    default: Callable[[], list[Any]] | None = getattr(trainer, "_create_default_callbacks", None)
    if default is not None:
        trainer._create_default_callbacks = lambda: _needed_callbacks(default(), own_cluster)
    return trainer


def _needed_callbacks(default: list[Any], own_cluster: bool) -> list[Any]:
    """Return Ray Train's callbacks without those that would start a process for nothing.

    DatasetsCallback hands out Ray Datasets, which our groups do not use. PlacementGroupCleanerCallback frees the cores of
    a dead controller; a local cluster ends with its process and needs no cleaner. On other clusters its timeout is short,
    because it may query a cluster that has died (see `connect`): with the default the end of a group took 12 s.
    """
    try:
        from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
        from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
    except ImportError:
        return default
    kept = [each for each in default if not isinstance(each, DatasetsCallback | PlacementGroupCleanerCallback)]
    return kept if own_cluster else [*kept, PlacementGroupCleanerCallback(stop_timeout=2.0)]
