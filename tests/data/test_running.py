"""A task that loses its process or runs out of memory is retried a limited number of times, then named in an error."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_cases import noise, source_of, write_csv

from cluster.connect import connect, set_environment
from cluster.ray_compat import times_lost
from data.errors import FailedError
from data.prepared.running import TaskRun, lost_by, run_with_ray
from data.prepared.shards import Shard, shards_of


def tasks_in(folder: Path) -> list[list[Shard]]:
    files = [write_csv(noise(10), folder / f"{number}.csv") for number in range(2)]
    return [[shard] for shard in shards_of(source_of(files, name="pump", series="{file}"), str(folder))]


@pytest.mark.ray
def test_a_task_that_loses_its_process_is_retried_and_reported(ray_session: None, tmp_path: Path) -> None:
    def die_once(task: list[Any]) -> list[Any]:
        marker = Path(task[0].folder) / f"died-{task[0].number}"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [task[0].number]

    connect(num_cpus=2)  # a command of an earlier test may have left the session's Ray
    messages, runs = list[str](), list[TaskRun]()
    assert run_with_ray(tasks_in(tmp_path), die_once, tell=messages.append, note=runs.append, times_lost=times_lost) == [
        [0],
        [1],
    ]
    assert [run.times_lost > 0 for run in runs] == [True, True]
    assert set(messages) == {"dataset 'pump': a task was lost once with its process or node; it ran again and is done"}


@pytest.mark.ray
def test_a_task_without_memory_is_run_alone(ray_session: None, tmp_path: Path) -> None:
    def hungry_once(task: list[Any]) -> list[Any]:
        marker = Path(task[0].folder) / f"hungry-{task[0].number}"
        if not marker.exists():
            marker.touch()
            soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (1 << 28, hard))
            try:
                np.ones(1 << 28)
            finally:
                resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        return [task[0].number]

    connect(num_cpus=2)
    messages = list[str]()
    tasks = tasks_in(tmp_path)
    (tmp_path / "hungry-1").touch()
    assert run_with_ray(tasks, hungry_once, tell=messages.append) == [[0], [1]]
    assert messages == ["dataset 'pump': tasks were lost (it ran out of memory); 1 are run again, one at a time"]


def killed_by_the_monitor(folder: Path) -> None:
    """Program with tasks that grow until Ray's memory monitor kills them: the first task once, then each task always."""

    def grow(task: list[Any]) -> list[Any]:
        tries = Path(task[0].folder) / f"tries-{task[0].number}"
        with tries.open("a") as stream:
            stream.write("x")
        if task[0].test or tries.stat().st_size == 1:
            arrays = []
            while True:
                arrays.append(np.ones(1 << 22))  # 32 MB, until the end
        return [task[0].number]

    set_environment()
    connect(num_cpus=1)
    (first, second), messages = tasks_in(folder), list[str]()
    results = run_with_ray([first], grow, tell=messages.append, times_lost=times_lost)
    facts: dict[str, Any] = {"results": results, "messages": messages}
    always = [[Shard(second[0].source, second[0].files, second[0].folder, 1, test=True)]]
    try:
        run_with_ray(always, grow, tell=messages.append, times_lost=times_lost)
    except FailedError as error:
        facts["error"] = str(error)
    facts["tries"] = [(folder / f"tries-{number}").stat().st_size for number in range(2)]
    print(json.dumps(facts), flush=True)


@pytest.mark.ray
@pytest.mark.long
def test_a_task_that_the_memory_monitor_kills_is_run_again_and_then_named(tmp_path: Path) -> None:
    """Limit the retries, which Ray itself does not (task_oom_retries is -1)."""
    memory = {line.split(":")[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}
    used = 1 - memory["MemAvailable"] / memory["MemTotal"]
    threshold = used + 3e6 / memory["MemTotal"]  # 3 GB of room, half of which Ray itself takes
    monitor = {"RAY_memory_usage_threshold": f"{threshold:.4f}", "RAY_memory_monitor_refresh_ms": "50"}
    environment = {**os.environ, **monitor, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, __file__, str(tmp_path)]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=900, check=True)
    result = json.loads(process.stdout.splitlines()[-1])
    assert result["results"] == [[0]]
    assert "a task was lost once with its process or node" in result["messages"][0]
    assert "tasks were lost (it ran out of memory); 1 are run again, one at a time" in result["messages"][-1]
    assert "also when it ran alone (it ran out of memory)" in result["error"]
    assert result["tries"] == [2, 6]


@pytest.mark.ray
@pytest.mark.long
def test_a_task_that_always_dies_is_tried_alone_and_then_named(ray_session: None, tmp_path: Path) -> None:
    def always_die(task: list[Any]) -> list[Any]:
        with (Path(task[0].folder) / "tries").open("a") as tries:
            tries.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    connect(num_cpus=2)
    messages: list[str] = []
    with pytest.raises(FailedError, match="dataset 'pump': a task that prepares it was lost again and again"):
        run_with_ray(tasks_in(tmp_path)[:1], always_die, tell=messages.append)
    assert messages == ["dataset 'pump': tasks were lost (its process died); 1 are run again, one at a time"]
    assert (tmp_path / "tries").read_text() == "x" * 6


def test_a_lost_task_is_distinguished_from_an_error_of_the_task() -> None:
    from ray.exceptions import OutOfMemoryError, WorkerCrashedError

    wrapped = RuntimeError("Ray Data says")
    wrapped.__cause__ = OutOfMemoryError("killed")
    assert lost_by(wrapped) == "it ran out of memory"
    assert lost_by(WorkerCrashedError()) == "its process died"
    assert lost_by(ValueError("a bug")) is None


if __name__ == "__main__":
    killed_by_the_monitor(Path(sys.argv[1]))
