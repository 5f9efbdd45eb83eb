"""MLflow with a SQLite store and W&B offline: one run for each training, with its curves and files."""

from __future__ import annotations

import importlib.util
import json
import struct
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


@needs_mlflow
def test_mlflow_has_one_run_with_curves_recipe_matrix_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "pumps")
    path = write_small(tmp_path, training={"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "handover": "last"})
    result = train(str(path), storage=tmp_path / "runs", workers=0, loggers=["mlflow", "tensorboard"])
    client = MlflowClient()
    experiment = client.get_experiment_by_name("pumps")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "small")
    assert run.data.params["training.learning_rate"] == "0.01"
    losses = [loss for stage in result.result.stages for loss in stage.train_loss]
    told = client.get_metric_history(run.info.run_id, "train_loss")
    assert [each.value for each in told] == pytest.approx(losses)
    assert [each.step for each in told] == sorted(each.step for each in told)
    last = client.get_metric_history(run.info.run_id, "validation_error/crane")[-1]
    assert last.value == pytest.approx(result.result.error_matrix.validation[-1][2])
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {
        "recipe.toml", "result.json", "report.html", "error_matrix.csv",
    }  # fmt: skip
    matrix = Path(client.download_artifacts(run.info.run_id, "error_matrix.csv")).read_text().splitlines()
    assert matrix[0] == "after,anvil,bellows,crane"
    assert float(matrix[-1].split(",")[1]) == result.result.error_matrix.validation[-1][0]

    train(str(path), storage=tmp_path / "runs", workers=0, loggers=["mlflow", "tensorboard"])  # trains nothing
    assert len(client.search_runs([experiment.experiment_id])) == 1
    train(str(path), storage=tmp_path / "runs", workers=0, loggers=["mlflow", "tensorboard"], epochs=1)  # another training
    assert len(client.search_runs([experiment.experiment_id])) == 2


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


def records(content: bytes) -> Iterator[bytes]:
    """The records of a W&B file, which is a LevelDB log: blocks of 32 KiB, each piece with checksum, length and kind."""
    place, whole = 7, b""  # behind the head of the file
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        if kind == 0:
            return
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of a record, or its last piece
            yield whole
            whole = b""


def history(path: Path) -> list[dict[str, Any]]:
    """The rows of numbers in a file of W&B, by name."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for content in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            found.append({each.key or "/".join(each.nested_key): json.loads(each.value_json) for each in items})
    return found
