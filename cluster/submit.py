"""Submitting a job: its package, its environment and its command."""

from __future__ import annotations

import shlex
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cluster.connect import ENVIRONMENT
from cluster.jobs import ask, job_id
from cluster.package import RECIPE, Package, make_package, megabytes
from cluster.start import requirements_of

ON_A_CLUSTER = {
    "RAY_JOB_STOP_WAIT_TIME_S": "15",  # time for a stopped run to record its progress
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # shows the run in the dashboard's Train view
}


@dataclass(frozen=True)
class Order:
    """A job to submit; `credentials` go only into the job's environment and are never shown."""

    command: str
    document: Mapping[str, Any]
    name: str
    storage: str
    workers: int | None
    credentials: Mapping[str, str] = field(repr=False)
    install: bool


def entrypoint(order: Order) -> str:
    """Return the command line of the job, quoted for a shell."""
    words = ["python", "-m", "cluster.start", f"ray={version('ray')},torch={version('torch')}", order.command, RECIPE]
    words += ["--address", "auto", "--storage", order.storage]
    if order.command != "prepare":
        words += ["--name", order.name]
        words += [] if order.workers is None else ["--workers", str(order.workers)]
    return shlex.join(words)


def metadata_of(order: Order) -> dict[str, str]:
    """Return the job's metadata for Ray's dashboard."""
    workers = {} if order.workers is None else {"workers": str(order.workers)}
    return {"name": order.name, "run": order.name, "command": order.command, "storage": order.storage, **workers}


def runtime_env(order: Order, package: Package) -> dict[str, Any]:
    """Return Ray's runtime environment: the shipped folder, the variables and, with --install, the packages."""
    env: dict[str, Any] = {
        "working_dir": str(package.folder),
        "env_vars": {**ENVIRONMENT, **ON_A_CLUSTER, **order.credentials},
    }
    if order.install:
        wanted = requirements_of((package.folder / "pyproject.toml").read_text())
        pinned = "-c ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/constraints.txt"
        env["pip"] = {"packages": [pinned, *(text for text in wanted if not text.startswith("ray["))]}
    return env


def send(client: Any, address: str, order: Order, say: Callable[[str], object]) -> str:
    """Ship the code and the recipe, start the job and return its id."""
    import tomli_w

    job = job_id(order.name, time.time(), uuid.uuid4().hex[:4])
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch:
        package = make_package(Path(scratch), tomli_w.dumps(order.document).encode())
        for link in package.links_left_out:
            say(f"{link} is a link and is not shipped")
        say(f"shipping {package.num_code_files} files of code, {megabytes(package.code_bytes)}")
        started = time.monotonic()
        ask(
            lambda: client.submit_job(
                entrypoint=entrypoint(order),
                submission_id=job,
                runtime_env=runtime_env(order, package),
                metadata=metadata_of(order),
            ),
            address,
        )
    say(f"submitted {job} in {time.monotonic() - started:.1f} s; its results go to {order.storage}/runs/{order.name}")
    return job
