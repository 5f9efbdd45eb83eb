"""Killed processes: their runs must end with the same files as an undisturbed run.

The moments are random and seeded: 17 of the whole run (a few of them in each suite), 3 of a worker of Ray Train.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from helpers import forkserver, processes_that_stay
from small import LONG, NUM_LONG_EPOCHS, Run, share_prepared, write_small

from workflows.fit.learner import Learner
from workflows.recipe.recipe import load_recipe
from workflows.relay.events import EpochDone, Working
from workflows.results.events import Event
from workflows.store.store import Store
from workflows.training.run import train

ROOT = Path(__file__).parents[2]
LIVES = 80  # more processes than the test can need
PROGRAMS = (0, 6, 12)  # the processes that start an interpreter with the command; the others are forked
PHASES = ("fit", "commit", "evaluate")
pytestmark = [pytest.mark.ray, pytest.mark.slow]


def start(recipe: Path, storage: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "workflows", "train", str(recipe), "--workers", str(workers), "--storage", str(storage)]
    environment = {**os.environ, "LSTM_RELAY_CACHE": str(storage)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read_until(process: subprocess.Popen[str], word: str, times: int = 1) -> list[str]:
    """Return the lines up to the one with the nth occurrence of the word; all lines if the process ends before."""
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


def live(recipe: Path, storage: Path, sending: Connection) -> None:
    """Train in a separate process that sends a message when it enters and leaves a phase."""

    def telling(phase: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def send_and_work(*args: Any, **options: Any) -> Any:
            sending.send((phase, "enters", time.monotonic()))
            result = work(*args, **options)
            sending.send((phase, "leaves", time.monotonic()))
            return result

        return send_and_work

    Learner.fit_epoch = telling("fit", Learner.fit_epoch)  # type: ignore[method-assign]
    Learner.evaluate_all = telling("evaluate", Learner.evaluate_all)  # type: ignore[method-assign]
    Store.commit = telling("commit", Store.commit)  # type: ignore[method-assign]
    train(load_recipe(recipe), storage, None, 0)


@dataclass
class Killer:
    """Kill runs at random moments; the duration of a phase is measured in earlier runs on this machine."""

    random: random.Random
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    def kill_program(self, recipe: Path, storage: Path) -> str | None:
        """Kill the command after its first epoch; return None if it had ended before."""
        process = start(recipe, storage, 0)
        read_until(process, "loss")
        time.sleep(self.random.uniform(0.0, 0.25))
        process.kill()
        return "program" if process.wait() == -signal.SIGKILL else None

    def kill_fork(self, recipe: Path, storage: Path) -> str | None:
        """Kill a forked run in or after a phase; return the phase in which it died, None if it had ended before."""
        aim, times, share = self.random.choice(PHASES), self.random.randint(1, 3), self.random.uniform(0.0, 1.1)
        hearing, sending = forkserver().Pipe(duplex=False)
        process = forkserver().Process(target=live, args=(recipe, storage, sending))
        process.start()
        sending.close()
        phase, what, when = "start", "leaves", 0.0
        with contextlib.suppress(EOFError):
            while times:
                before, (phase, what, when) = when, hearing.recv()
                if what == "leaves":
                    self.seconds[phase] = when - before
                times -= (phase, what) == (aim, "enters")
            time.sleep(share * self.seconds[aim])
        process.kill()
        process.join()
        with contextlib.suppress(EOFError):
            while True:
                phase, what, when = hearing.recv()
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0
            return None
        return phase if what == "enters" else "between"


@pytest.mark.parametrize("kills", [3, pytest.param(17, marks=pytest.mark.long)])
def test_a_run_killed_at_random_moments_ends_in_the_same_weights(undisturbed: Run, tmp_path: Path, kills: int) -> None:
    """Start the next run in an empty store if one ends before it was killed often enough."""
    killer, died = Killer(random.Random(5)), Counter[str]()
    recipe = write_small(tmp_path, **LONG)
    storages = [tmp_path / "runs 0"]
    for _ in range(LIVES):
        if died.total() >= kills and set(PHASES) <= set(died):
            break
        kill = killer.kill_program if died.total() in PROGRAMS else killer.kill_fork
        phase = kill(recipe, storages[-1])
        if phase is None:
            storages.append(tmp_path / f"runs {len(storages)}")
            share_prepared(storages[0], storages[-1])
        else:
            died[phase] += 1
    assert died.total() >= kills
    assert set(PHASES) <= set(died)
    assert died["program"] == sum(number < died.total() for number in PROGRAMS)
    assert (storages[0] / "runs" / "small" / "ray.log").stat().st_size > 0  # of the first program, that started Ray
    for storage in storages:
        result = train(load_recipe(recipe), storage, None, 0).to_json()
        assert result["key"] == undisturbed[1]["key"]
        assert result["error_matrix"] == undisturbed[1]["error_matrix"]
        assert weights(storage, result["key"]) == weights(undisturbed[0] / "runs", result["key"])


def workers_here() -> list[int]:
    """Return the process ids of the Ray Train workers below this process."""
    pids = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"RayTrainWorker" in command and os.getpid() in ancestors(pid):
            pids.append(pid)
    return sorted(pids)


def ancestors(pid: int) -> set[int]:
    pids = set()
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        pids.add(pid)
    return pids


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.long)])
def test_workers_killed_at_random_moments_are_replaced_and_the_weights_are_the_same(
    undisturbed_by_two: Run, tmp_path: Path, kills: int
) -> None:
    moments = random.Random(1)
    recipe, storage = write_small(tmp_path, **LONG), tmp_path / "runs"
    share_prepared(undisturbed_by_two[0] / "runs", storage)
    events: list[Event] = []
    left: list[int] = []  # epochs until a worker is killed
    killed: list[int] = []

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, Working) and len(killed) < kills:
            left[:] = [moments.randint(1, 6)]
        elif isinstance(event, EpochDone) and left:
            left[0] -= 1
            if left[0] == 0:
                left.clear()
                time.sleep(moments.uniform(0.0, 0.1))
                killed.append(moments.choice(workers_here()))
                os.kill(killed[-1], signal.SIGKILL)

    result = train(load_recipe(recipe), storage, None, 2, watch=watch).to_json()
    assert len(set(killed)) == kills
    assert sum(isinstance(each, Working) for each in events) == kills + 1  # each time another group has gone on
    assert result["key"] == undisturbed_by_two[1]["key"]
    assert weights(storage, result["key"]) == weights(undisturbed_by_two[0] / "runs", result["key"])


@pytest.mark.parametrize(("sent", "workers"), [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 2, marks=pytest.mark.long)])
def test_an_interrupt_exits_with_130_and_the_same_command_goes_on(
    sent: signal.Signals, workers: int, undisturbed: Run, tmp_path: Path
) -> None:
    recipe, storage = write_small(tmp_path, **LONG), tmp_path / "runs"
    share_prepared(undisturbed[0] / "runs", storage)
    process = start(recipe, storage, workers)
    lines = read_until(process, "loss", times=4)
    process.send_signal(sent)
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 130, [*lines, rest]
    assert "interrupted; run the same command to resume" in rest
    for line in [*lines, *rest.splitlines()]:
        assert not any(word in line for word in ("INFO", "WARNING", "ray::", "(raylet)", "DeprecationWarning", "Traceback"))
    assert processes_that_stay(f"LSTM_RELAY_CACHE={storage}") == []
    assert Store(str(storage)).runs(dict)[0]["small"]["status"] == "interrupted"
    result = train(load_recipe(recipe), storage, None, 0).to_json()
    assert 0 < result["epochs_trained"] <= NUM_LONG_EPOCHS - 4
    for row, expected in zip(
        result["error_matrix"]["validation"], undisturbed[1]["error_matrix"]["validation"], strict=True
    ):
        assert row == pytest.approx(expected, rel=1e-5)


def child_of(process: subprocess.Popen[str], name: str) -> bool:
    """Return whether a program of this name runs below a process."""
    for pid in (int(each) for each in os.listdir("/proc") if each.isdigit()):
        with contextlib.suppress(OSError):
            if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and process.pid in ancestors(pid) - {pid}:
                return True
    return False


@pytest.mark.long
@pytest.mark.parametrize("begun", ["gcs_server", "raylet", "RayTrainWorker"])
def test_an_interrupt_while_ray_starts_ends_cleanly(begun: str, undisturbed: Run, tmp_path: Path) -> None:
    """Send Ctrl-C once Ray's first process, its node or its first worker has begun: one line, no process stays."""
    recipe, storage = write_small(tmp_path, **LONG), tmp_path / "runs"
    share_prepared(undisturbed[0] / "runs", storage)
    process = start(recipe, storage, 2)
    until = time.monotonic() + 120
    while not child_of(process, begun) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert output.count("interrupted; run the same command to resume") == 1
    assert not any(word in output for word in ("Traceback", "Error", "(raylet)", "WARNING"))
    # A Ray agent that is still loading notices only afterwards that its node has ended.
    assert processes_that_stay(f"LSTM_RELAY_CACHE={storage}", 90) == []
    assert train(load_recipe(recipe), storage, None, 0).to_json()["key"] == undisturbed[1]["key"]
