"""Connecting to Ray: to the cluster that the user names, or to a new local one; never to a stranger's by accident."""

from __future__ import annotations

import contextlib
import importlib
import logging
import logging.handlers
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.capacity import Capacity, capacity_of, one_node
from cluster.ray_compat import authorize_metrics, grows_to, show_worker_ends
from cluster.reach import ClusterError, find_token

# Reports and the end of a run wait for the controller's next poll, every 2 s by default.
ENVIRONMENT = {  # see set_environment
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # A group starts when there is room for it. If the room is gone by then, the run itself waits for it and says so.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # Retries of a task that was killed for lack of memory; Ray's default has no limit.
    "RAY_task_oom_retries": "2",
    # Waiting threads of torch must not spin: with spinning, an epoch of 0.4 s took 14 s on two busy cores.
    "OMP_WAIT_POLICY": "PASSIVE",
}


VERBOSE = "LSTM_RELAY_VERBOSE"  # if set, Ray's log is also shown on the screen

_connected = _own_cluster = False


def set_environment() -> None:
    """Set the variables that Ray and torch read at import; values of the user are kept."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def connect(address: str | None = None, **options: Any) -> None:
    """Connect to the cluster at `address`, or start one on this machine that ends with this process.

    Without an address Ray would first try the cluster that a file in its temporary folder names, and hang if that cluster
    has died; "local" does not look there. Ray's log is kept for `write_log_to`. A connected process stays connected.
    """
    set_environment()
    import ray

    _capture_log()
    if ray.is_initialized():
        return
    if address is None:
        options = {"include_dashboard": False, **options}
    else:
        with contextlib.suppress(ClusterError):  # of a token that cannot be read, which Ray reports itself
            if token := find_token():
                authorize_metrics(token[0])
    at_terminate = signal.getsignal(signal.SIGTERM)
    global _connected, _own_cluster
    verbose = VERBOSE in os.environ
    level = logging.INFO if verbose else logging.WARNING
    try:
        ray.init(address=address or "local", log_to_driver=verbose, logging_level=level, **options)
    except (ConnectionError, ValueError):  # a wrong address, or a cluster that does not answer
        raise
    except Exception as error:  # Ray raises a plain one if the machine is too busy or too full to start it
        lines = str(error).strip().splitlines() or [type(error).__name__]
        ray.shutdown()
        raise ConnectionError(f"Ray did not start on this machine: {lines[0]}") from error
    _connected, _own_cluster = True, address is None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, at_terminate)  # Ray has replaced it
    _capture_log()


MAX_RECORDS = 100_000  # log records of Ray that are kept in memory
_LOG = logging.handlers.MemoryHandler(capacity=MAX_RECORDS, flushLevel=logging.CRITICAL + 1)
_SCREEN = logging.StreamHandler()
_SCREEN.setLevel(logging.INFO)


def _capture_log() -> None:
    """Send the records of Ray's loggers to the log, and to the screen only if the user wants it."""
    show_worker_ends(VERBOSE in os.environ)  # the run itself reports what a worker's end means
    names = [name for name in logging.root.manager.loggerDict if name == "ray" or name.startswith("ray.")]
    for name in [*names, "ray"]:
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.propagate = name != "ray"
    logging.getLogger("ray").addHandler(_LOG)
    if VERBOSE in os.environ:
        logging.getLogger("ray").addHandler(_SCREEN)


def hold_log() -> None:
    """Keep Ray's records in memory for the next `write_log_to`, and close the current file."""
    before = _LOG.target
    _LOG.setTarget(None)
    _LOG.capacity = MAX_RECORDS
    if before is not None:
        with contextlib.suppress(OSError):  # unwritten records on a full disk
            before.close()


class _LogFile(logging.FileHandler):
    """A log file that drops records on a full disk instead of printing an error for each."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


def write_log_to(path: Path) -> None:
    """Write Ray's records since `connect` or `hold_log`, and all later ones, to a file."""
    hold_log()
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    _LOG.setTarget(handler)
    _LOG.flush()
    _LOG.capacity = 1


def connected() -> bool:
    """Return whether `connect` has joined a cluster that this process has not left."""
    return _connected


def own_cluster() -> bool:
    """Return whether this process is connected to a local cluster that `connect` has started."""
    return _own_cluster


def disconnect() -> None:
    """Leave the cluster that `connect` has joined; a cluster that it started ends."""
    global _connected, _own_cluster
    if _connected:
        import ray

        ray.shutdown()
        _connected = _own_cluster = False


def capacity() -> Capacity:
    """Return the capacity of the connected cluster, or of this machine without one."""
    if "ray" in sys.modules:
        import ray

        if ray.is_initialized():
            return capacity_of(ray.nodes(), os.environ, grows_to())  # type: ignore[no-untyped-call]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return one_node(float(cores), float(_num_gpus()))


def resources() -> dict[str, float]:
    """Return the total cores and GPUs of the connected cluster, or of this machine without one."""
    return capacity().totals()


GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's driver, AMD's, and WSL's


def _num_gpus() -> int:
    if sys.platform == "linux" and not any(map(os.path.exists, GPU_DEVICES)):
        return 0  # known without torch, whose import takes a second
    import torch

    return torch.cuda.device_count()


@contextlib.contextmanager
def quiet(module: str) -> Iterator[None]:
    """Import a module of Ray, and keep its loggers off the screen."""
    importlib.import_module(module)
    _capture_log()
    try:
        yield
    finally:
        _capture_log()
