"""NVIDIA's multi-process service: kernels of several processes run on one GPU at the same time.

On an H200, with an LSTM of 64 units and batches of 32, eight processes finished 4.0 times as many trials as one process with
the service, and 1.6 times as many without it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

PIPES = "CUDA_MPS_PIPE_DIRECTORY"
CONTROL = "nvidia-cuda-mps-control"
PATIENCE_S = 20


@contextlib.contextmanager
def multi_process_service() -> Iterator[str]:
    """Run the service on this machine; yields its folder for `find_service`, or "" if it is not available.

    A service that CUDA_MPS_PIPE_DIRECTORY already names is used instead.
    """
    program = shutil.which(CONTROL)
    if os.environ.get(PIPES) or program is None:
        yield os.environ.get(PIPES, "")
        return
    with tempfile.TemporaryDirectory(prefix="lstm-relay-mps-", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, PIPES: folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        started = _control([program, "-d"], "", environment) and _control([program], "get_server_list\n", environment)
        try:
            yield folder if started else ""
        finally:
            _control([program], "quit\n", environment)


def find_service(folder: str) -> None:
    """Let this process use the service; call it before CUDA starts."""
    if folder:
        os.environ[PIPES] = folder


def _control(command: list[str], words: str, environment: dict[str, str]) -> bool:
    """Run the control program; returns whether it succeeded."""
    try:
        quiet = subprocess.DEVNULL
        done = subprocess.run(
            command, input=words, text=True, env=environment, stdout=quiet, stderr=quiet, timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
