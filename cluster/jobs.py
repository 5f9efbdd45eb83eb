"""Jobs on a cluster: what is asked of Ray's job client, a log that is followed to its end, and how a job has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from cluster.reach import ClusterError

RECONNECTS = 30  # how often a log that broke off is taken up again, RECONNECT_S apart
RECONNECT_S = 2.0


def check_credentials(names: list[str]) -> dict[str, str]:
    """Return the values of environment variables that a job is to have, by their names; no value is ever in a message."""
    problems = []
    for name in names:
        bare = name.partition("=")[0]
        if "=" in name:
            problems.append(
                f"--env {bare}=...: write --env {bare}; its value is taken from the environment, never from a command"
            )
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            problems.append("--env: this is not the name of an environment variable: write one such as AWS_ACCESS_KEY_ID")
        elif name.startswith("RAY_AUTH"):
            problems.append(f"--env {name}: the cluster knows its own token; a job needs none")
        elif name not in os.environ:
            problems.append(f"--env {name}: there is no such variable here: export {name}=... before")
    if problems:
        raise ClusterError("\n".join(problems))
    return {name: os.environ[name] for name in names}


def job_id(name: str, now: float, suffix: str) -> str:
    """An id that can stand in a URL and a folder: the run's name, the time (UTC), and a few letters against a twin."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "run"
    return f"{plain}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{suffix}"


def ask(call: Callable[[], Any], address: str, job: str = "") -> Any:
    """Return what a call of Ray's client returns; its errors become ClusterErrors."""
    import requests
    from ray.exceptions import AuthenticationError

    try:
        return call()
    except AuthenticationError:
        raise ClusterError(f"{address}: the cluster does not take this machine's token any more") from None
    except (requests.exceptions.RequestException, ConnectionError):
        raise ClusterError(f"{address}: the cluster does not answer any more") from None
    except RuntimeError as error:
        text = str(error)
        if job and "status code 404" in text:
            raise ClusterError(
                f"{job}: the cluster knows no such job: `python -m cluster status --address {address}` lists all"
            ) from None
        raise ClusterError(f"{address}: the cluster refused: {text.strip().splitlines()[-1]}") from None


def follow(client: Any, job: str, write: Callable[[str], object]) -> None:
    """Write a job's log until the job has ended; a connection that breaks off is taken up where it was."""
    written = 0

    async def tail() -> None:
        nonlocal written
        seen = 0
        async for text in client.tail_job_logs(job):
            new = text[max(written - seen, 0) :]  # the log is sent from its beginning again
            seen += len(text)
            if new:
                write(new)
                written = seen

    import aiohttp

    broken = 0
    while broken <= RECONNECTS:
        before = written
        with contextlib.suppress(aiohttp.ClientError, RuntimeError, OSError):
            asyncio.run(tail())
        with contextlib.suppress(RuntimeError, OSError):
            if client.get_job_info(job).status.is_terminal():
                return
        broken = broken + 1 if written == before else 0
        time.sleep(RECONNECT_S if broken else 0.2)
    raise ClusterError(f"{job}: the cluster does not answer any more; the job may go on without this machine")


def exit_code(info: Any) -> int:
    """Return the exit code that tells how a job ended: its own, 1 where it has none, 130 where it was stopped."""
    status = str(getattr(info.status, "value", info.status))
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return 130
    return info.driver_exit_code if info.driver_exit_code in (1, 2, 130) else 1


def told(info: Any) -> Mapping[str, str]:
    """Return what a person wants to know of a job."""
    took = f"{((info.end_time or 1000 * time.time()) - info.start_time) / 1000:.0f} s" if info.start_time else ""
    message = (info.message or "").strip().splitlines()
    return {
        "job": info.submission_id or info.job_id or "",
        "status": str(getattr(info.status, "value", info.status)),
        "for": took,
        "message": message[0].partition(", last available logs")[0][:200] if message else "",
    }


def wait_for_end(client: Any, address: str, job: str) -> str:
    """Return how a job that was asked to end has ended, in a word."""
    for _ in range(40):
        info = ask(lambda: client.get_job_info(job), address, job)
        if info.status.is_terminal():
            return told(info)["status"].lower()
        time.sleep(0.5)
    return "it has not ended yet"
