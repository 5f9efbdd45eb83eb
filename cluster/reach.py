"""Connecting to a cluster's job API: address, token, and the message if something else answers or nothing does.

Ray's client waits for ever for an address that does not answer, so the address is tried first with a timeout.
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
    """The cluster cannot be used; the message says what to do."""


def check_address(address: str) -> str:
    """Return the address of a job API without trailing slashes; raises ClusterError if it is not one."""
    example = "write it as http://HEAD:8265, the address of the cluster's dashboard"
    if "@" in address:
        raise ClusterError(f"--address: leave out name and password; the token is read where Ray reads it: {example}")
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an unclosed bracket
        whole = False
    if not whole or parts.query or parts.fragment:
        raise ClusterError(f"--address {address!r}: not the address of a job API: {example}")
    return address.rstrip("/")


def find_token() -> tuple[str, str] | None:
    """Return the cluster's token and its source; looks where Ray looks, in the same order."""
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
    """Return Ray's job client for the cluster at `address` after checking that it answers and accepts the token.

    Raises ClusterError within seconds if nothing or something else answers, the token is wrong, or the minor version of
    Ray differs from this machine's.
    """
    import requests

    address, token = check_address(address), find_token()
    headers = {"Authorization": f"Bearer {token[0]}"} if token else {}
    try:
        answer = requests.get(
            f"{address}/api/version",
            headers=headers,
            timeout=TIMEOUT_S,
            allow_redirects=False,  # so the token is sent to no other host
        )
    except requests.exceptions.SSLError:
        raise ClusterError(f"{address}: no https there, or an untrusted certificate: try http://") from None
    except requests.exceptions.Timeout:
        raise ClusterError(f"{address}: no answer within {TIMEOUT_S:.0f} s: {_REACH}") from None
    except (requests.exceptions.RequestException, ValueError):
        raise ClusterError(f"{address}: no answer: {_REACH}") from None
    _check_answer(address, answer, token)

    from ray.job_submission import JobSubmissionClient

    for name in ("dashboard_sdk", "job.sdk"):  # hide their notes on uploads and sockets
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
    logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)
    return JobSubmissionClient(address, headers=headers)


_REACH = (
    "check that the cluster is up, that its dashboard is on this port, and that there is a tunnel to it (ray dashboard "
    "cluster/aws.yaml, or kubectl port-forward)"
)


def _check_answer(address: str, answer: Any, token: tuple[str, str] | None) -> None:
    if answer.status_code == 401:
        raise ClusterError(
            f"{address}: the cluster requires its token and this machine has none: put it into RAY_AUTH_TOKEN or "
            "~/.ray/auth_token (`ray get-auth-token` on the cluster prints it)"
        )
    if answer.status_code == 403:
        source = token[1] if token else "this machine"
        raise ClusterError(
            f"{address}: the cluster refuses the token of {source}: put the cluster's token into RAY_AUTH_TOKEN"
        )
    try:
        cluster_ray = str(answer.json()["ray_version"])
    except (ValueError, KeyError, TypeError):
        raise ClusterError(
            f"{address}: the answer is not from a Ray dashboard (HTTP {answer.status_code}): write http://HEAD:8265"
        ) from None
    local_ray = version("ray")
    if minor(cluster_ray) != minor(local_ray):
        raise ClusterError(
            f"{address}: the cluster has Ray {cluster_ray}, this machine {local_ray}: start the cluster with Ray "
            f"{local_ray} (cluster/*.yaml pin it), or install its version on this machine"
        )


def minor(release: str) -> str:
    """Return the first two numbers of a version."""
    return ".".join(release.split(".")[:2])


def sends_in_the_clear(address: str) -> bool:
    """Return whether the token would cross a network as plain text."""
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK and find_token() is not None
