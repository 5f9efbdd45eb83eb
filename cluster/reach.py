"""Reaching a cluster's job API: its address, its token, and what it means where something else answers, or nothing.

Ray's own client waits for ever for an address that does not answer, so the address is tried first, with a limit.
"""

from __future__ import annotations

import logging
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 3.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ClusterError(Exception):
    """The cluster cannot be used as it was asked for; the message says what to do instead."""


def check_address(address: str) -> str:
    """Return the address of a job API without what it does not need; raises ClusterError where it cannot be one."""
    example = "write it as http://HEAD:8265, the address of the cluster's dashboard"
    if "@" in address:
        raise ClusterError(f"--address: leave name and password out; the token is read from where Ray reads it: {example}")
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        whole = False
    if not whole or parts.query or parts.fragment:
        raise ClusterError(f"--address {address!r}: this is not the address of a job API: {example}")
    return address.rstrip("/")


def find_token() -> tuple[str, str] | None:
    """Return the token of the cluster and where it was found, in the places and in the order in which Ray itself looks."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token, "the environment's RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise ClusterError(
                f"RAY_AUTH_TOKEN_PATH = {named}: the token cannot be read there ({type(error).__name__})"
            ) from None
        return None
    return (token, str(path)) if token else None


def connect_jobs(address: str) -> Any:
    """Ray's client for the jobs of the cluster at `address`, after seeing that it answers and takes the token.

    Raises ClusterError within seconds where nothing answers, something else does, the token is wrong, or the cluster's Ray
    is another minor version than this machine's.
    """
    import requests

    address, token = check_address(address), find_token()
    headers = {"Authorization": f"Bearer {token[0]}"} if token else {}
    try:
        answer = requests.get(
            f"{address}/api/version",
            headers=headers,
            timeout=TIMEOUT_S,
            allow_redirects=False,  # the token goes nowhere else
        )
    except requests.exceptions.SSLError:
        raise ClusterError(f"{address}: no https is spoken there, or its certificate is not trusted: try http://") from None
    except requests.exceptions.Timeout:
        raise ClusterError(f"{address}: no answer within {TIMEOUT_S:.0f} s: {_REACH}") from None
    except (requests.exceptions.RequestException, ValueError):
        raise ClusterError(f"{address}: nothing answers there: {_REACH}") from None
    _check_answer(address, answer, token)

    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard_sdk", "job.sdk"):  # what they tell of uploads and sockets is nothing for a person
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
    logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)
    return JobSubmissionClient(address, headers=headers)


_REACH = (
    "is the cluster up, its dashboard on this port, and is there a way to it (ray dashboard cluster/aws.yaml, or kubectl "
    "port-forward, make one)?"
)


def _check_answer(address: str, answer: Any, token: tuple[str, str] | None) -> None:
    if answer.status_code == 401:
        raise ClusterError(
            f"{address}: the cluster wants its token, and there is none here: put it into RAY_AUTH_TOKEN or "
            "~/.ray/auth_token (on the cluster, `ray get-auth-token` tells it)"
        )
    if answer.status_code == 403:
        place = token[1] if token else "this machine"
        raise ClusterError(f"{address}: the cluster refuses the token of {place}: put the cluster's own into RAY_AUTH_TOKEN")
    try:
        theirs = str(answer.json()["ray_version"])
    except (ValueError, KeyError, TypeError):
        raise ClusterError(
            f"{address}: what answers there is no Ray dashboard (HTTP {answer.status_code}): write http://HEAD:8265"
        ) from None
    ours = version("ray")
    if minor(theirs) != minor(ours):
        raise ClusterError(
            f"{address}: the cluster has Ray {theirs}, this machine {ours}: start the cluster with Ray {ours} "
            "(cluster/*.yaml pin it), or install what it has here"
        )


def minor(release: str) -> str:
    """Return the first two numbers of a version."""
    return ".".join(release.split(".")[:2])


def sends_in_the_clear(address: str) -> bool:
    """Return whether the token would go over a network as plain text."""
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK and find_token() is not None
