"""Jobs on a cluster: calls of Ray's job client, following a log to its end, and the exit code of a job."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from cluster.reach import ClusterError

RECONNECTS = 30  # attempts to reconnect to a log, RECONNECT_S apart
RECONNECT_S = 2.0


def check_credentials(names: list[str]) -> dict[str, str]:
    """Return the values of the environment variables for a job by name; no message shows a value."""
    problems = []
    for name in names:
        bare = name.partition("=")[0]
        if "=" in name:
            problems.append(
                f"--env {bare}=...: write --env {bare}; the value is read from the environment, so it is in no command line"
            )
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            problems.append("--env: not the name of an environment variable: write one such as AWS_ACCESS_KEY_ID")
        elif name.startswith("RAY_AUTH"):
            problems.append(f"--env {name}: a job needs no token, the cluster has its own")
        elif name not in os.environ:
            problems.append(f"--env {name}: not set on this machine: run export {name}=... first")
    if problems:
        raise ClusterError("\n".join(problems))
    return {name: os.environ[name] for name in names}


def job_id(name: str, now: float, suffix: str) -> str:
    """Return an id for URLs and folders: the run's name, the time (UTC) and a random suffix."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "run"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{suffix}"


def ask(call: Callable[[], Any], address: str, job: str = "") -> Any:
    """Call Ray's client and return its answer; errors become ClusterError."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        return call()
    except AuthenticationError:
        raise ClusterError(f"{address}: the cluster no longer accepts this machine's token") from None
    except (requests.exceptions.RequestException, ConnectionError):
        raise ClusterError(f"{address}: the cluster no longer answers") from None
    except RuntimeError as error:
        text = str(error)
        if job and "status code 404" in text:
            raise ClusterError(
                f"{job}: no such job on the cluster: `python -m cluster status --address {address}` lists all jobs"
            ) from None
        raise ClusterError(f"{address}: the cluster refused: {text.strip().splitlines()[-1]}") from None


def follow(client: Any, job: str, write: Callable[[str], object]) -> None:
    """Write a job's log until the job ends; after a lost connection it resumes where it was."""
    written = 0

    async def tail() -> None:
        nonlocal written
        seen = 0
        async for text in client.tail_job_logs(job):
            new = text[max(written - seen, 0) :]  # a new connection sends the log from its beginning
            seen += len(text)
            if new:
                write(new)
                written = seen

    import aiohttp

    failures = 0
    while failures <= RECONNECTS:
        before = written
        with contextlib.suppress(aiohttp.ClientError, RuntimeError, OSError):
            asyncio.run(tail())
        with contextlib.suppress(RuntimeError, OSError):
            if client.get_job_info(job).status.is_terminal():
                return
        failures = failures + 1 if written == before else 0
        time.sleep(RECONNECT_S if failures else 0.2)
    raise ClusterError(f"{job}: the cluster no longer answers; the job may still be running")


def exit_code(info: Any) -> int:
    """Return the exit code of a job: its own, 1 if it has none, 130 if it was stopped."""
    status = str(getattr(info.status, "value", info.status))
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return 130
    return info.driver_exit_code if info.driver_exit_code in (1, 2, 130) else 1


def describe(info: Any) -> Mapping[str, str]:
    """Return the id, status, duration and message of a job."""
    took = f"{((info.end_time or 1000 * time.time()) - info.start_time) / 1000:.0f} s" if info.start_time else ""
    message = (info.message or "").strip().splitlines()
    return {
        "job": info.submission_id or info.job_id or "",
        "status": str(getattr(info.status, "value", info.status)),
        "for": took,
        "message": message[0].partition(", last available logs")[0][:200] if message else "",
    }


def wait_for_end(client: Any, address: str, job: str) -> str:
    """Wait up to 20 s for a stopped job to end; returns its status in words."""
    for _ in range(40):
        info = ask(lambda: client.get_job_info(job), address, job)
        if info.status.is_terminal():
            return describe(info)["status"].lower()
        time.sleep(0.5)
    return "not ended yet"
