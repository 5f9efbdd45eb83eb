"""Commands on one store at random times in separate processes: no traceback, no lost epoch, results as of one command."""

from __future__ import annotations

import json
import random
import shutil
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from commands import invoke
from small import small_document, write_machine

from workflows.results.verify import verify
from workflows.store.store import Store

WORDS = {
    "train": ["train", "{recipe}"],
    "other": ["train", "{recipe}", "--set", "seed=5", "--name", "other"],
    "search": ["search", "{recipe}", "--name", "tried"],
    "prepare": ["prepare", "{recipe}"],
    "clean": ["clean"],
    "rollback": ["rollback", "small", "--to", "1"],
    "report": ["report", "small"],
}
# Imported once, in the process that forks the commands: imports are nearly all of a command's time.
LOADED = (
    "workflows.cli.commands", "workflows.training.run", "workflows.training.backend", "workflows.search.search",
    "workflows.search.plot", "workflows.report.report", "workflows.fit.device_lane", "workflows.fit.learner",
    "workflows.relay.walk", "workflows.results.rollback", "workflows.results.clean", "workflows.results.tables",
    "workflows.loggers.search_terminal", "workflows.loggers.result_table", "ray.train.torch", "tensorboardX", "pandas",
    "rich.table", "rich.progress", "typer.testing", "boto3", "matplotlib.figure", "matplotlib.backends.backend_svg",
    "matplotlib.font_manager", "torch._dynamo", "safetensors.torch", "workflows.results.prediction",
)  # fmt: skip
REFUSALS = ("clean: ", "there is no finished run", "no such run or search", "check the path", "written by another command")


def work(words: list[str], delay: float, log: str) -> None:
    """Run a command after a delay, and write its exit code and stderr to a file."""
    time.sleep(delay)  # so that commands begin at any moment of each other
    try:
        code, _, err = invoke(*words)
    except BaseException as error:
        code, err = -1, f"{type(error).__name__}: {error}"
    Path(log).write_text(json.dumps([code, err]))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the recipe, and the result of its undisturbed run."""
    folder = tmp_path_factory.mktemp("alone")
    for number, name in enumerate(("anvil", "bellows")):
        write_machine(folder / f"{name}.csv", number, rows=80)
    document = small_document(
        datasets=[{"name": name, "path": f"{name}.csv"} for name in ("anvil", "bellows")],
        model={"hidden_size": 4},
        training={"epochs": 1, "batch_size": 32, "decay_rate": 0.7},
        search={"decay_rate": [0.7]},
        compute={"num_workers": 0},
    )
    (folder / "small.toml").write_text(tomli_w.dumps(document))
    assert invoke("train", str(folder / "small.toml"), "--storage", str(folder / "runs"))[0] == 0
    return folder, json.loads((folder / "runs" / "runs" / "small" / "result.json").read_text())


def interleave(alone: tuple[Path, dict[str, Any]], folder: Path, seed: int) -> None:
    """Run some commands at once on a store that is empty or has the finished run."""
    chance = random.Random(seed)
    storage = folder / "runs"
    finished = chance.random() < 0.7
    if finished:
        shutil.copytree(alone[0] / "runs", storage, copy_function=shutil.copy2)
    names = [name for name in WORDS if name != "search" or finished]  # a search of what the store holds starts no Ray
    chosen = [chance.choice(names) for _ in range(chance.randint(3, 5))]
    if {"rollback", "clean"} <= set(chosen):  # the search would lack epochs, and start Ray
        chosen = ["report" if name == "search" else name for name in chosen]
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    processes = []
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(chosen):
        words = [word.format(recipe=alone[0] / "small.toml") for word in WORDS[name]]
        arguments = ([*words, "--storage", str(storage)], chance.random() * 0.8, str(folder / f"{number}.json"))
        processes.append(context.Process(target=work, args=arguments))
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        assert process.exitcode == 0, (seed, chosen)
    for number, name in enumerate(chosen):
        code, err = json.loads((folder / f"{number}.json").read_text())
        refused = code == 2 and any(words in err for words in REFUSALS)
        assert code == 0 or refused, (seed, chosen, name, code, err)
    assert verify(Store(str(storage))).damaged == [], (seed, chosen)
    code, out, err = invoke("train", str(alone[0] / "small.toml"), "--storage", str(storage))
    assert (code, err) == (0, ""), (seed, chosen)
    if finished and not {"rollback", "clean"} <= set(chosen):  # or `clean` may remove what was rolled back
        assert "nothing was trained" in out, (seed, chosen, out)
    result = json.loads((storage / "runs" / "small" / "result.json").read_text())
    for key in ("key", "error_matrix", "mean_scaled_error", "forgetting", "test"):
        assert result[key] == alone[1][key], (seed, chosen, key)
    shutil.rmtree(folder)


def test_a_random_interleaving(alone: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    interleave(alone, tmp_path / "round", 3)


@pytest.mark.long
@pytest.mark.parametrize("first", range(100, 300, 10))
def test_200_random_interleavings(first: int, alone: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """About 1 min for 10 of them."""
    for seed in range(first, first + 10):
        interleave(alone, tmp_path / "round", seed)
