"""A task whose process dies is run again, not without end, and what cannot be done is named."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from data_cases import noise, source_of, write_csv

from cluster.connect import connect
from data.errors import FailedError
from data.prepared.running import lost_by, run_with_ray
from data.prepared.shards import Shard, shards_of


def tasks_in(folder: Path) -> list[list[Shard]]:
    files = [write_csv(noise(10), folder / f"{number}.csv") for number in range(2)]
    return [[shard] for shard in shards_of(source_of(files, name="pump", series="{file}"), str(folder))]


@pytest.mark.ray
def test_a_task_whose_process_dies_is_done_again(ray_session: None, tmp_path: Path) -> None:
    def die_once(task: list[Any]) -> list[Any]:
        marker = Path(task[0].folder) / f"died-{task[0].number}"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [task[0].number]

    connect(num_cpus=2)  # a command of an earlier test may have left the session's Ray
    assert run_with_ray(tasks_in(tmp_path), die_once) == [[0], [1]]


@pytest.mark.ray
@pytest.mark.long
def test_a_task_that_always_dies_is_tried_alone_and_then_named(ray_session: None, tmp_path: Path) -> None:
    def always_die(task: list[Any]) -> list[Any]:
        with (Path(task[0].folder) / "tries").open("a") as tries:
            tries.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    connect(num_cpus=2)
    told: list[str] = []
    with pytest.raises(FailedError, match="dataset 'pump': a task that prepares it was lost 3 times, also when it ran"):
        run_with_ray(tasks_in(tmp_path)[:1], always_die, tell=told.append)
    assert "they are run again, one at a time" in told[0]
    assert (tmp_path / "tries").read_text() == "x" * 6


def test_a_loss_is_told_apart_from_an_error_of_the_task() -> None:
    from ray.exceptions import OutOfMemoryError, WorkerCrashedError

    wrapped = RuntimeError("Ray Data says")
    wrapped.__cause__ = OutOfMemoryError("killed")
    assert lost_by(wrapped) == "it ran out of memory"
    assert lost_by(WorkerCrashedError()) == "its process died"
    assert lost_by(ValueError("a bug")) is None
