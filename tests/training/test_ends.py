"""However a command with workers ends: one line, a status that is true, no process that stays, and the same command goes on.

Real processes, each with a Ray of its own.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import processes_that_stay
from small import LONG, write_small

from workflows.recipe.recipe import load_recipe
from workflows.store.store import Store
from workflows.training.run import train

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]


class Command:
    """A command in a session of its own, as a shell starts it, with a mark that its processes inherit."""

    def __init__(self, folder: Path, *words: str, **recipe: object):
        self.storage, self.mark = folder / "runs", f"LSTM_RELAY_CACHE={folder / 'cache'}"
        self.recipe = write_small(folder, **{**LONG, **recipe})
        command = [sys.executable, "-m", "workflows", words[0], str(self.recipe), *words[1:], "--storage", str(self.storage)]
        environment = {**os.environ, "LSTM_RELAY_CACHE": str(folder / "cache")}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def wait_for_epochs(self, count: int) -> None:
        """Wait until the store has some checkpoints of it."""
        while self.process.poll() is None and len(Store(str(self.storage)).storage.names("checkpoints")) <= count:
            time.sleep(0.05)

    def processes(self, word: str) -> list[int]:
        """Its processes whose title has a word, as Ray titles those of actors."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                marked = self.mark.encode() in (folder / "environ").read_bytes().split(b"\0")
                if marked and word.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return found

    def kill(self, word: str) -> None:
        """Kill those processes, which there have to be."""
        found = self.processes(word)
        assert found, word
        for number in found:
            os.kill(number, signal.SIGKILL)

    def end(self) -> tuple[int, str, list[str]]:
        """Wait for its end and return its exit code, its output and the lines on stderr; none of its processes stays.

        Ray's agents look for their raylet every half second, and take half a minute to start where the cores are busy.
        """
        out, err = self.process.communicate(timeout=300)
        assert processes_that_stay(self.mark, seconds=90) == []
        return self.process.returncode, out, err.splitlines()

    def status(self) -> str:
        """Return what `runs` says of it."""
        return str(Store(str(self.storage)).runs(dict)[0]["small"]["status"])

    def goes_on(self) -> None:
        """The same command, in this process, trains what is left and not what was done."""
        there = len(Store(str(self.storage)).storage.names("checkpoints"))
        result = train(load_recipe(self.recipe), self.storage, None, 0).to_json()
        assert result["status"] == "finished"
        assert result["epochs_trained"] <= result["epochs_requested"] - (there - 2) // 2


@pytest.mark.parametrize("seed", range(3))
def test_ctrl_c_again_and_again_ends_in_one_line(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    command = Command(tmp_path, "train", "--workers", "2")
    command.wait_for_epochs(3)
    for _ in range(3):
        os.killpg(command.process.pid, signal.SIGINT)  # a terminal sends it to all of its processes
        time.sleep(chance.uniform(0.0, 0.5))
    code, _, err = command.end()
    assert (code, err) == (130, ["interrupted; run the same command to resume from the last epoch in the store"])
    assert command.status() == "interrupted"
    command.goes_on()


def test_a_killed_controller_ends_in_one_line(tmp_path: Path) -> None:
    command = Command(tmp_path, "train", "--workers", "2")
    command.wait_for_epochs(3)
    command.kill("TrainController")
    code, _, err = command.end()
    assert (code, len(err)) == (1, 1), err
    assert err[0].startswith("error: Ray's controller of the workers was lost")
    assert command.status() == "failed"
    command.goes_on()


def test_a_killed_mailbox_is_made_again(tmp_path: Path) -> None:
    command = Command(tmp_path, "train", "--workers", "2")
    command.wait_for_epochs(3)
    command.kill("_Mailbox")
    code, _, err = command.end()
    assert (code, err) == (0, [])
    assert command.status() == "finished"


def test_a_killed_queue_of_a_trial_costs_no_trial(tmp_path: Path) -> None:
    settings = {"decay_rate": [0.5, 0.9], "workers_per_trial": 1}
    command = Command(tmp_path, "search", search=settings, training={"epochs": 3})
    command.wait_for_epochs(2)
    command.kill("_QueueActor")
    code, _, err = command.end()
    assert (code, err) == (0, [])
    search = Store(str(command.storage)).search("small", dict)
    assert search is not None
    assert [(trial["stopped_after"], trial.get("failed")) for trial in search["trials"]] == [(None, None)] * 2


def test_a_killed_gcs_ends_in_one_line(tmp_path: Path) -> None:
    """Ray itself ends the process then, so that nothing can be noted: `runs` says "interrupted" when it has been silent."""
    command = Command(tmp_path, "train", "--workers", "2")
    command.wait_for_epochs(3)
    command.kill("gcs_server")
    code, _, err = command.end()
    assert (code, len(err)) == (1, 1), err
    assert command.status() in ("running", "failed")
    command.goes_on()


@pytest.mark.parametrize("words", [("train", "--workers", "2"), ("search",)])
def test_nothing_outlives_a_killed_command(words: tuple[str, ...], tmp_path: Path) -> None:
    command = Command(tmp_path, *words, search={"decay_rate": [0.5, 0.9]})
    command.wait_for_epochs(3)
    command.process.kill()
    code, _, _ = command.end()
    assert code == -signal.SIGKILL
    if words[0] == "train":
        command.goes_on()
