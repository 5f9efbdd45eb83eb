"""TensorBoard files have every number of a run once, at its step, in records with valid checksums."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from small import write_small
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog

from workflows.recipe.recipe import load_recipe
from workflows.relay.events import EpochDone
from workflows.results.events import Event as RunEvent
from workflows.training.run import train

pytestmark = pytest.mark.ray
Numbers = dict[str, list[tuple[int, float]]]


def masked(content: bytes) -> int:
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read(folder: Path) -> list[Any]:
    """Return the events of the single file in a folder; check every checksum."""
    (path,) = folder.iterdir()
    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert struct.unpack("<I", content[8:12])[0] == masked(content[:8])
        body = content[12 : 12 + length]
        assert struct.unpack("<I", content[12 + length : 16 + length])[0] == masked(body)
        events.append(Event.FromString(body))
        content = content[16 + length :]
    return events


def numbers(events: list[Any]) -> Numbers:
    points_by_tag: Numbers = {}
    for event in events:
        for value in event.summary.value:
            points_by_tag.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points_by_tag


def run(tmp_path: Path, name: str | None = None, workers: int = 0, **training: Any) -> dict[str, Any]:
    settings = {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "handover": "last", **training}
    return train(load_recipe(write_small(tmp_path, training=settings)), tmp_path / "runs", name, workers).to_json()


def check(result: dict[str, Any], events: list[Any], steps: int) -> None:
    """Check that every number of a result is in the events at its step; `steps` is the number of steps of an epoch."""
    points_by_tag = numbers(events)
    losses = [loss for stage in result["stages"] for loss in stage["train_loss"]]
    assert points_by_tag["train_loss"] == [(steps * number, pytest.approx(loss)) for number, loss in enumerate(losses, 1)]
    rates = [rate for stage in result["stages"] for rate in stage["learning_rates_used"]]
    assert [value for _, value in points_by_tag["learning_rate"]] == pytest.approx(rates)
    ends = [0]
    for stage in result["stages"]:
        ends.append(ends[-1] + steps * stage["epochs"])
    for number, name in enumerate(result["datasets"]):
        for tag, kind in (("validation_error", "validation"), ("error_over_naive", "scaled")):
            points = points_by_tag[f"{tag}/{name}"]
            assert [step for step, _ in points] == sorted({step for step, _ in points})
            for end, row in zip(ends, result["error_matrix"][kind], strict=True):
                assert dict(points)[end] == pytest.approx(row[number])
        errors = dict(points_by_tag[f"validation_error/{name}"])
        for count, error in enumerate(result["stages"][number]["validation_error"], 1):
            assert errors[ends[number] + steps * count] == pytest.approx(error)
    assert points_by_tag["forgetting"][-1] == (ends[-1], pytest.approx(result["forgetting"]))
    assert points_by_tag["mean_error_over_naive"][-1] == (ends[-1], pytest.approx(result["mean_scaled_error"]))


def test_a_run_writes_all_numbers_and_continues_its_file(ray_session: None, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "runs" / "small" / "events"
    first = run(tmp_path)
    events = read(folder)
    assert events[0].file_version == "brain.Event:2"
    assert events[1].session_log.status == SessionLog.START
    check(first, events, 7)
    before = {file.name for file in folder.iterdir()}
    assert run(tmp_path)["epochs_trained"] == 0
    assert {file.name for file in folder.iterdir()} == before
    longer = run(tmp_path, epochs=3)
    assert longer["epochs_trained"] == 7
    check(longer, read(folder), 7)


def test_a_run_of_stored_epochs_writes_all_numbers(ray_session: None, tmp_path: Path) -> None:
    run(tmp_path)
    again = run(tmp_path, "again")
    assert again["epochs_trained"] == 0
    check(again, read(tmp_path / "runs" / "runs" / "again" / "events"), 7)


def test_a_storage_that_went_away_is_not_made_again_and_nothing_is_lost(ray_session: None, tmp_path: Path) -> None:
    away = tmp_path / "away"

    def watch(event: RunEvent) -> None:
        if isinstance(event, EpochDone) and (event.stage, event.epoch) == (0, 0):
            events = tmp_path / "runs" / "runs" / "small" / "events"
            events.rename(away)
        elif isinstance(event, EpochDone) and (event.stage, event.epoch) == (1, 0):
            assert not (tmp_path / "runs" / "runs" / "small" / "events").exists()
            away.rename(tmp_path / "runs" / "runs" / "small" / "events")

    settings = {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "handover": "last"}
    result = train(load_recipe(write_small(tmp_path, training=settings)), tmp_path / "runs", None, 0, watch=watch).to_json()
    check(result, read(tmp_path / "runs" / "runs" / "small" / "events"), 7)
