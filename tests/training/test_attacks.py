"""Every write or deletion of a command fails, is cut, or is the last before a kill; then the same command ends as alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from commands import invoke
from injected import KilledError, injected
from small import small_document, write_machine

from workflows.results.clean import find_leftovers
from workflows.results.verify import verify
from workflows.store.store import Store

HOWS = ("full", "killed", "cut")
DECAY = 0.7


@dataclass(frozen=True)
class Command:
    """A command on a store, and the steps that come before it."""

    words: tuple[str, ...]
    before: tuple[str, ...] = ()  # names of steps
    ends: tuple[int, ...] = (0,)  # exit codes of the same command after an attack


COMMANDS = {
    "prepare": Command(("prepare", "{recipe}")),
    "train": Command(("train", "{recipe}")),
    "rollback": Command(("rollback", "small", "--to", "1"), ("train",)),
    "extend": Command(
        ("extend", "small", "--path", "{folder}/crane.csv", "--dataset", "crane", "--workers", "0"), ("train",), (0, 2)
    ),  # 2: the first call had done its work
    "search": Command(("search", "{recipe}"), ("train",)),  # whose one trial is in the store: no Ray is started
    "clean": Command(("clean",), ("train", "train --set seed=5 --name other", "forget other")),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recipe, its data, and for each command the store that it starts from and the one it ends with."""
    folder = tmp_path_factory.mktemp("stores")
    for number, name in enumerate(("anvil", "bellows", "crane")):
        write_machine(folder / f"{name}.csv", number, rows=80)
    document = small_document(
        datasets=[{"name": name, "path": f"{name}.csv"} for name in ("anvil", "bellows")],
        model={"hidden_size": 4},
        training={"epochs": 1, "batch_size": 32, "decay_rate": DECAY},
        search={"decay_rate": [DECAY]},
        compute={"num_workers": 0},
    )
    (folder / "small.toml").write_text(tomli_w.dumps(document))
    for name, command in COMMANDS.items():
        start = folder / f"{name} before"
        for step in command.before:
            what, *words = step.split()
            if what == "forget":
                shutil.rmtree(start / "runs" / words[0])
            else:
                assert run(folder, (what, "{recipe}", *words), start)[0] == 0
        start.mkdir(exist_ok=True)
        shutil.copytree(start, folder / f"{name} after", copy_function=shutil.copy2)
        assert run(folder, command.words, folder / f"{name} after")[0] == 0
    return folder


def run(folder: Path, words: Iterable[str], storage: Path) -> tuple[int, str, str]:
    filled = [word.format(recipe=folder / "small.toml", folder=folder) for word in words]
    return invoke(*filled, "--storage", str(storage))


def seen(storage: Path) -> dict[str, Any]:
    """What a person reads of a store: the numbers of its runs and searches, and what is prepared."""
    found: dict[str, Any] = {"prepared": sorted(p.name for p in storage.glob("prepared/*/") if len(p.name) == 32)}
    found["checkpoints"] = sorted(path.name for path in (storage / "checkpoints").glob("[!.]*"))
    for path in storage.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        found[path.parent.name] = {key: result[key] for key in ("status", "key", "error_matrix", "forgetting")}
        found[path.parent.name]["test"] = {name: each["error"] for name, each in result["test"].items()}
    for path in storage.glob("runs/*/search.json"):
        search = json.loads(path.read_text())
        found[f"search {path.parent.name}"] = {key: search[key] for key in ("status", "key", "best", "pareto")}
    return found


def attack(stores: Path, name: str, storage: Path, place: int, how: str) -> bool:
    """Attack a command at one change, then run it again; returns whether the attack came before its end."""
    command = COMMANDS[name]
    shutil.copytree(stores / f"{name} before", storage, copy_function=shutil.copy2)
    try:
        with injected(f"{storage}/", place, how) as injection:
            code, out, err = run(stores, command.words, storage)
            assert code in (0, 1, 2), (place, how, out, err)
            assert code == 0 or len(err.strip().splitlines()) == 1, (place, how, err)
    except KilledError:
        pass
    reached = injection.count > place
    shutil.rmtree(storage / "leases", ignore_errors=True)  # as the process is dead
    code, out, err = run(stores, command.words, storage)
    assert code in command.ends, (place, how, code, out, err)
    assert verify(Store(str(storage))).damaged == [], (place, how)
    ended, expected = seen(storage), seen(stores / f"{name} after")
    if "checkpoints" in command.words or name == "clean":
        assert find_leftovers(Store(str(storage))) == []
    assert ended == expected, (place, how)
    shutil.rmtree(storage)
    return reached


def changes_of(stores: Path, name: str, storage: Path) -> int:
    """How many changes a command makes."""
    shutil.copytree(stores / f"{name} before", storage, copy_function=shutil.copy2)
    with injected(f"{storage}/") as counted:
        assert run(stores, COMMANDS[name].words, storage)[0] == 0
    shutil.rmtree(storage)
    return counted.count


@pytest.mark.parametrize("name", COMMANDS)
def test_after_an_attack_at_one_change_the_same_command_ends_as_alone(name: str, stores: Path, tmp_path: Path) -> None:
    number = list(COMMANDS).index(name)
    place = changes_of(stores, name, tmp_path / "x") * (number + 1) // 8
    assert attack(stores, name, tmp_path / "x", place, HOWS[number % 3])


@pytest.mark.long
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", COMMANDS)
def test_after_an_attack_at_any_change_the_same_command_ends_as_alone(
    name: str, how: str, stores: Path, tmp_path: Path
) -> None:
    """About 1.5 s an attack; `train` makes some hundred changes."""
    for place in range(changes_of(stores, name, tmp_path / "x")):
        attack(stores, name, tmp_path / "x", place, how)
