"""Connecting to Ray: the cluster that the user named, or one of this process's own; never somebody's by accident."""

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
from cluster.ray_compat import grows_to, show_worker_ends

# A report waits for the controller's next poll and so does the end of a run: 2 s each unless it polls more often.
ENVIRONMENT = {  # see set_environment
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # A group is started when there is room for it; where that has gone meanwhile, the run waits for it, and says so.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # Of a task that is killed because memory ran out; Ray itself goes on without end.
    "RAY_task_oom_retries": "2",
    # Threads of torch that wait must not spin: on two busy cores an epoch that takes 0.4 s took 14 s so.
    "OMP_WAIT_POLICY": "PASSIVE",
}


VERBOSE = "LSTM_RELAY_VERBOSE"  # set: what Ray says is shown on the screen as well

_connected_here = _own_cluster = False


def set_environment() -> None:
    """Set what Ray and torch read when they are imported; what the user has set stands."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def connect(address: str | None = None, **options: Any) -> None:
    """Connect to the cluster at `address`, or start one on this machine that ends with this process.

    Without an address Ray would first try the cluster that a file in its temporary folder names, and hang where that one
    has died; "local" does not look there. What Ray says is kept for `write_log_to`. A process that is connected stays so.
    """
    set_environment()
    import ray

    _capture_log()
    if ray.is_initialized():
        return
    if address is None:
        options = {"include_dashboard": False, **options}
    at_terminate = signal.getsignal(signal.SIGTERM)
    global _connected_here, _own_cluster
    verbose = VERBOSE in os.environ
    level = logging.INFO if verbose else logging.WARNING
    try:
        ray.init(address=address or "local", log_to_driver=verbose, logging_level=level, **options)
    except (ConnectionError, ValueError):  # of an address that is wrong, or of a cluster that is away
        raise
    except Exception as error:  # plain ones, of a machine that is too busy or too full to start it
        lines = str(error).strip().splitlines() or [type(error).__name__]
        ray.shutdown()
        raise ConnectionError(f"Ray did not start on this machine: {lines[0]}") from error
    _connected_here, _own_cluster = True, address is None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, at_terminate)  # Ray puts its own there
    _capture_log()


HELD = 100_000  # of the things that Ray says
_LOG = logging.handlers.MemoryHandler(capacity=HELD, flushLevel=logging.CRITICAL + 1)
_SCREEN = logging.StreamHandler()
_SCREEN.setLevel(logging.INFO)


def _capture_log() -> None:
    """Send what Ray's loggers say to the log, and to the screen only where the user wants it."""
    show_worker_ends(VERBOSE in os.environ)  # what the end of a worker means for the run is said by the run
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
    """Keep what Ray says from now on for the next `write_log_to`: the file of the last one is complete."""
    before = _LOG.target
    _LOG.setTarget(None)
    _LOG.capacity = HELD
    if before is not None:
        with contextlib.suppress(OSError):  # what is still to be written to a full disk
            before.close()


class _LogFile(logging.FileHandler):
    """A log on a disk that may be full: what does not fit is lost, and the screen is left to what matters."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


def write_log_to(path: Path) -> None:
    """Write what Ray has said since `connect` or `hold_log`, and says from now on, to a file."""
    hold_log()
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    _LOG.setTarget(handler)
    _LOG.flush()
    _LOG.capacity = 1


def connected() -> bool:
    """Whether `connect` has joined a cluster that this process has not left."""
    return _connected_here


def own_cluster() -> bool:
    """Whether this process is connected to a cluster that `connect` has started, and that ends with it."""
    return _own_cluster


def disconnect() -> None:
    """Leave the cluster if `connect` has joined it; one that it started ends."""
    global _connected_here, _own_cluster
    if _connected_here:
        import ray

        ray.shutdown()
        _connected_here = _own_cluster = False


def capacity() -> Capacity:
    """What the nodes of the connected cluster have, or this machine where none is connected."""
    if "ray" in sys.modules:
        import ray

        if ray.is_initialized():
            return capacity_of(ray.nodes(), os.environ, grows_to())  # type: ignore[no-untyped-call]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return one_node(float(cores), float(_num_gpus()))


def resources() -> dict[str, float]:
    """The cores and GPUs of the connected cluster or this machine, in sum."""
    return capacity().totals()


GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # of NVIDIA's driver, AMD's, and Windows' under WSL


def _num_gpus() -> int:
    if sys.platform == "linux" and not any(map(os.path.exists, GPU_DEVICES)):
        return 0  # known without torch, whose import takes a second
    import torch

    return torch.cuda.device_count()


@contextlib.contextmanager
def quiet(module: str) -> Iterator[None]:
    """Import a module of Ray, and keep off the screen the loggers that it sets up."""
    importlib.import_module(module)
    _capture_log()
    try:
        yield
    finally:
        _capture_log()
