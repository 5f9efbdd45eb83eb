"""Real processes, killed for real: what they leave behind must be what an undisturbed run leaves.

The moments are random and seeded: 17 of the whole program, 3 of a worker under Ray Train. About three minutes in all.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small import write_small

from workflows.chain.store import Store
from workflows.recipe import load_recipe
from workflows.training import train

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.ray, pytest.mark.slow]
LONG = {"training": {"epochs": 16}, "model": {"hidden_size": 48}, "rows": 700}


def start(recipe: Path, storage: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "workflows", "train", str(recipe), "--workers", str(workers), "--storage", str(storage)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_until(process: subprocess.Popen[str], word: str, times: int = 1) -> list[str]:
    """The lines up to the one that brings the word for the nth time; all of them where the process ends before."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            times -= 1
            if times == 0:
                break
    return lines


def weights(storage: Path, key: str) -> dict[str, bytes]:
    state = Store(str(storage)).load(key)
    return {name: value.numpy().tobytes() for name, value in {**state.model, **state.optimizer}.items()}


@pytest.fixture(scope="module")
def undisturbed(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, train(load_recipe(write_small(folder, **LONG)), folder / "runs", None, 0)


def test_a_program_killed_at_17_moments_ends_in_the_same_weights(
    undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    moments = random.Random(5)
    recipe, storage = write_small(tmp_path, **LONG), tmp_path / "runs"
    kills = 0
    while kills < 17:
        process = start(recipe, storage, 0)
        read_until(process, "loss", times=1)
        time.sleep(moments.uniform(0.0, 0.25))
        process.kill()
        if process.wait() != -signal.SIGKILL:
            break  # it had ended before
        kills += 1
    assert kills == 17
    result = train(load_recipe(recipe), storage, None, 0)
    assert result["key"] == undisturbed[1]["key"]
    assert result["error_matrix"] == undisturbed[1]["error_matrix"]
    assert weights(storage, result["key"]) == weights(undisturbed[0] / "runs", result["key"])


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The Ray Train workers of a program, found by the Ray session that it started."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"RayTrainWorker" in command and process.pid in ancestors(pid):
            found.append(pid)
    return sorted(found)


def ancestors(pid: int) -> set[int]:
    found = set()
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.add(pid)
    return found


def test_workers_killed_at_three_moments_are_replaced_and_the_weights_are_the_same(
    undisturbed_by_two: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    moments = random.Random(1)
    recipe, storage = write_small(tmp_path, **LONG), tmp_path / "runs"
    process = start(recipe, storage, 2)
    for _ in range(3):
        lines = read_until(process, "loss", times=moments.randint(1, 6))
        assert "loss" in lines[-1]
        time.sleep(moments.uniform(0.0, 0.1))
        os.kill(moments.choice(workers_of(process)), signal.SIGKILL)
        read_until(process, "workers were lost")
    rest = read_until(process, "result:")
    assert process.wait(timeout=120) == 0, rest
    key = undisturbed_by_two[1]["key"]
    assert Store(str(storage)).result("small")["key"] == key  # type: ignore[index]
    assert weights(storage, key) == weights(undisturbed_by_two[0] / "runs", key)


@pytest.fixture(scope="module")
def undisturbed_by_two(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed_by_two")
    return folder, train(load_recipe(write_small(folder, **LONG)), folder / "runs", None, 2)


@pytest.mark.parametrize(("sent", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_an_interrupt_exits_with_130_and_the_same_command_goes_on(
    sent: signal.Signals, workers: int, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    recipe, storage = write_small(tmp_path, **LONG), tmp_path / "runs"
    process = start(recipe, storage, workers)
    lines = read_until(process, "loss", times=4)
    process.send_signal(sent)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130, [*lines, rest]
    assert "interrupted; the same command goes on" in rest
    assert Store(str(storage)).runs()["small"]["status"] == "interrupted"
    result = train(load_recipe(recipe), storage, None, 0)
    assert 0 < result["epochs_trained"] <= 48 - 4
    for here, there in zip(result["error_matrix"]["validation"], undisturbed[1]["error_matrix"]["validation"], strict=True):
        assert here == pytest.approx(there, rel=1e-5)
