"""The head of a Ray cluster on loopback, started by `ray start --head` with a random token, and ended by its process ids."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Head:
    address: str
    token: str
    folder: Path  # of its sessions, logs and sockets
    metrics: str  # the address at which Prometheus reads


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(token: str) -> dict[str, str]:
    """Return the environment of the cluster's shell: `python` has Ray, and no RAY_ variable of this session is in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {
        **kept,
        "PATH": path,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


@contextlib.contextmanager
def head(num_cpus: int = 2) -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="head-", dir="/tmp"))  # sockets want short paths
    token, dashboard, metrics = secrets.token_hex(32), free_port(), free_port()
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1", f"--port={free_port()}", f"--temp-dir={folder}", f"--num-cpus={num_cpus}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", "--object-store-memory=100000000"]
    command += [f"--metrics-export-port={metrics}"]
    command += [f"--{name}={free_port()}" for name in ("dashboard-agent-listen-port", "ray-client-server-port")]
    log = folder / "start.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=environment(token), cwd=folder, stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
    try:
        _wait_for(f"http://127.0.0.1:{dashboard}", token, process, log)
        yield Head(f"http://127.0.0.1:{dashboard}", token, folder, f"http://127.0.0.1:{metrics}/metrics")
    finally:
        while pids := pids_of(token):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        shutil.rmtree(folder, ignore_errors=True)


def pids_of(token: str) -> list[int]:
    """Return the processes with the head's token in their environment: all that it has started, and no other."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if f"RAY_AUTH_TOKEN={token}".encode() in (entry / "environ").read_bytes():
                    pids.append(int(entry.name))
    return pids


def _wait_for(address: str, token: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the job API accepts jobs: its agent starts a moment after the dashboard."""
    request = urllib.request.Request(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
    for _ in range(900):  # Ray 2.52 on two busy cores takes more than 30 s
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=2):
            return
        time.sleep(0.1)
    raise TimeoutError(log.read_text())
