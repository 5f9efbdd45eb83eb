"""Fixtures that all tests share."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from small import LONG, Run, write_small

# A deadline for each example would measure how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("no_deadline", deadline=None)
hypothesis.settings.load_profile("no_deadline")

# A process started in the background by a shell ignores Ctrl-C, and so do its children; some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data beside the repository; skip the test where it is absent."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"there are no real data at {folder}")
    return folder


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of an empty bucket; credentials and endpoint are in the environment, as a user sets them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "requests.jsonl"
    log.touch()
    program = Path(__file__).parent / "support" / "s3_server.py"
    command = [sys.executable, "-W", "ignore", str(program), str(port), str(log)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "S3_TEST_LOG": str(log),  # see support/s3_log.py
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        for _ in range(150):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        from pyarrow import fs

        fs.S3FileSystem(allow_bucket_creation=True, endpoint_override=settings["AWS_ENDPOINT_URL"]).create_dir("relay")
        yield "s3://relay"
    server.kill()
    server.wait()


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Start Ray for this test session, with the settings of a run."""
    from cluster.connect import connect, disconnect

    connect(num_cpus=2)
    yield
    disconnect()


@pytest.fixture(scope="session")
def undisturbed(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train the recipe LONG in one process; tests only read its store."""
    return _train(tmp_path_factory.mktemp("undisturbed"), 0)


@pytest.fixture(scope="session")
def undisturbed_by_two(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train the recipe LONG on two workers of Ray Train."""
    return _train(tmp_path_factory.mktemp("undisturbed_by_two"), 2)


def _train(folder: Path, workers: int) -> Run:
    from workflows.recipe.recipe import load_recipe
    from workflows.training.run import train

    return folder, train(load_recipe(write_small(folder, **LONG)), folder / "runs", None, workers).to_json()
