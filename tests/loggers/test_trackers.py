"""MLflow with a SQLite store and W&B offline: one run for each training, with its curves and files."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import train_in_process
from small import write_small

from data.errors import InputError
from workflows import train
from workflows.loggers.loggers import check_loggers
from workflows.recipe.recipe import load_recipe
from workflows.relay.events import EpochDone
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")


def tracked(folder: Path, tracker: str, **training: Any) -> tuple[Store, TrainedRun]:
    settings = {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "handover": "last", **training}
    path = write_small(folder, training=settings, logging={"loggers": [tracker]})
    return train_in_process(load_recipe(path), folder / "runs")


def test_a_tracker_that_is_not_installed_is_refused_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"logging.loggers: mlflow is not installed: pip install 'lstm-relay\[mlflow\]'"):
        check_loggers(["tensorboard", "mlflow"])
    check_loggers(["tensorboard"])


def test_without_loggers_no_event_file_is_written(tmp_path: Path) -> None:
    path = write_small(tmp_path, logging={"loggers": []}, training={"epochs": 1})
    train_in_process(load_recipe(path), tmp_path / "runs")
    assert not (tmp_path / "runs" / "runs" / "small" / "events").exists()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a tracking server with a SQLite store in another process, and yield its address."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    log = (folder / "server.log").open("w")
    process = subprocess.Popen([*command, "--workers", "1"], stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        for _ in range(600):
            if process.poll() is not None:
                break
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(0.5)
        assert process.poll() is None, (folder / "server.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


@pytest.fixture(params=["store", pytest.param("server", marks=pytest.mark.long)])
def tracking(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use MLflow on a SQLite store, without a server and with one."""
    pytest.importorskip("mlflow")
    address = f"sqlite:///{tmp_path}/mlflow.db"
    if request.param == "server":
        pytest.importorskip("mlflow.server")
        address = request.getfixturevalue("server")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)


def mlflow_runs(experiment: str) -> tuple[Any, list[Any]]:
    """Return a client and the runs of an experiment."""
    from mlflow import MlflowClient

    client = MlflowClient()
    known_experiment = client.get_experiment_by_name(experiment)
    assert known_experiment is not None
    return client, list(client.search_runs([known_experiment.experiment_id]))


def curve(client: Any, run: Any, name: str) -> list[tuple[int, float]]:
    """Return all values of a metric on the server, by step."""
    return sorted((each.step, each.value) for each in client.get_metric_history(run.info.run_id, name))


@pytest.mark.usefixtures("tracking")
def test_mlflow_has_one_run_with_curves_recipe_matrix_and_page(tmp_path: Path) -> None:
    path = write_small(tmp_path, training={"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "handover": "last"})
    result = train(str(path), storage=tmp_path / "runs", workers=0, loggers=["mlflow", "tensorboard"])
    client, (run,) = mlflow_runs(tmp_path.name)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "small")
    assert run.data.params["training.learning_rate"] == "0.01"
    losses = [loss for stage in result.result.stages for loss in stage.train_loss]
    history_of_loss = client.get_metric_history(run.info.run_id, "train_loss")
    assert [each.value for each in history_of_loss] == pytest.approx(losses)
    assert [each.step for each in history_of_loss] == sorted(each.step for each in history_of_loss)
    last = client.get_metric_history(run.info.run_id, "validation_error/crane")[-1]
    assert last.value == pytest.approx(result.result.error_matrix.validation[-1][2])
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {
        "recipe.toml", "result.json", "report.html", "error_matrix.csv",
    }  # fmt: skip
    matrix = Path(client.download_artifacts(run.info.run_id, "error_matrix.csv")).read_text().splitlines()
    assert matrix[0] == "after,anvil,bellows,crane"
    assert float(matrix[-1].split(",")[1]) == result.result.error_matrix.validation[-1][0]

    train(str(path), storage=tmp_path / "runs", workers=0, loggers=["mlflow", "tensorboard"])  # trains nothing
    assert len(mlflow_runs(tmp_path.name)[1]) == 1
    train(str(path), storage=tmp_path / "runs", workers=0, loggers=["mlflow", "tensorboard"], epochs=1)  # another training
    assert len(mlflow_runs(tmp_path.name)[1]) == 2


def interrupted_after(folder: Path, tracker: str, epochs: int, **options: Any) -> str:
    """Interrupt a training at the end of an epoch; return its recipe, with which the same command resumes it."""
    path = write_small(folder, training={"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "handover": "last"})
    done = []

    def watch(event: Any) -> None:
        done.extend([event] if isinstance(event, EpochDone) else [])
        if len(done) == epochs:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(str(path), storage=folder / "runs", workers=0, loggers=[tracker], watch=watch, **options)
    return str(path)


@pytest.mark.usefixtures("tracking")
def test_a_training_that_is_resumed_continues_its_run_of_mlflow(tmp_path: Path) -> None:
    recipe = interrupted_after(tmp_path, "mlflow", 3)
    client, (before,) = mlflow_runs(tmp_path.name)
    assert before.info.status == "KILLED"
    assert len(curve(client, before, "train_loss")) == 3
    result = train(recipe, storage=tmp_path / "runs", workers=0, loggers=["mlflow"])
    client, (run,) = mlflow_runs(tmp_path.name)
    assert (run.info.run_id, run.info.status) == (before.info.run_id, "FINISHED")
    points = curve(client, run, "train_loss")
    assert [value for _, value in points] == pytest.approx([x for stage in result.result.stages for x in stage.train_loss])
    for name in run.data.metrics:
        steps = [step for step, _ in curve(client, run, name)]
        assert steps == sorted(set(steps)), name  # nothing was sent twice
    assert not [words for words in result.result.warnings if "mlflow" in words]


@pytest.mark.usefixtures("tracking")
def test_a_training_with_a_deleted_run_begins_a_new_one_with_a_warning(tmp_path: Path) -> None:
    recipe = interrupted_after(tmp_path, "mlflow", 1)
    client, (before,) = mlflow_runs(tmp_path.name)
    client.delete_run(before.info.run_id)
    result = train(recipe, storage=tmp_path / "runs", workers=0, loggers=["mlflow"])
    _, (run,) = mlflow_runs(tmp_path.name)
    assert run.info.run_id != before.info.run_id
    assert len(curve(client, run, "train_loss")) == 6
    assert (
        f"mlflow: the run {before.info.run_id} of this training was deleted: a new one was begun" in result.result.warnings
    )


@needs_mlflow
@pytest.mark.long
@pytest.mark.ray
def test_two_workers_are_one_run_on_the_server(
    ray_session: None, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    path = write_small(tmp_path, training={"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "handover": "last"})
    result = train(str(path), storage=tmp_path / "runs", workers=2, loggers=["mlflow"])
    client, (run,) = mlflow_runs(tmp_path.name)
    assert result.result.workers == 2
    assert (run.info.status, len(curve(client, run, "train_loss"))) == ("FINISHED", 6)
    assert {each.path for each in client.list_artifacts(run.info.run_id)} >= {"recipe.toml", "report.html"}


@needs_mlflow
def test_a_server_that_cannot_be_reached_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    _, run = tracked(tmp_path, "mlflow", epochs=1)
    assert run.result is not None
    assert any(words.startswith("mlflow: ") for words in run.result.warnings)


@needs_wandb
def test_wandb_writes_one_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "pumps")
    monkeypatch.setenv("HOME", str(tmp_path))
    store, run = tracked(tmp_path, "wandb")
    (written,) = (tmp_path / "runs" / "runs" / "small" / "wandb").glob("offline-run-*")
    (content,) = written.glob("run-*.wandb")
    known = json.loads(store.storage.read("runs/small/trackers.json"))["wandb"]["id"]
    assert content.name == f"run-{known}.wandb"
    rows = history(content)
    assert run.result is not None
    losses = [loss for stage in run.result.stages for loss in stage.train_loss]
    assert [each["train_loss"] for each in rows if "train_loss" in each] == pytest.approx(losses)
    assert any("validation_error/crane" in each for each in rows)


@needs_wandb
def test_a_training_that_is_resumed_continues_its_run_of_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = interrupted_after(tmp_path, "wandb", 3)
    result = train(recipe, storage=tmp_path / "runs", workers=0, loggers=["wandb"])
    store = Store(str(tmp_path / "runs"))
    known = json.loads(store.storage.read("runs/small/trackers.json"))["wandb"]["id"]
    written = sorted((tmp_path / "runs" / "runs" / "small" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [each.name for each in written] == [f"run-{known}.wandb"] * 2  # `wandb sync` joins them by this name
    before, after = ([row["train_loss"] for row in history(each) if "train_loss" in row] for each in written)
    losses = [loss for stage in result.result.stages for loss in stage.train_loss]
    assert before == pytest.approx(losses[:3])
    assert after == pytest.approx(losses)  # the second file is complete


def records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a W&B file, a LevelDB log: blocks of 32 KiB, each piece with checksum, length and kind."""
    position, whole = 7, b""  # after the header of the file
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        if kind == 0:
            return
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # all of a record, or its last piece
            yield whole
            whole = b""


def history(path: Path) -> list[dict[str, Any]]:
    """Return the rows of numbers in a W&B file, by name."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for content in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({each.key or "/".join(each.nested_key): json.loads(each.value_json) for each in items})
    return rows
