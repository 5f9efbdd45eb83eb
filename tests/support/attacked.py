"""Commands on a store whose n-th change fails: in a folder by injected.py, in a bucket by the server (s3_server.py)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import tomli_w
from commands import invoke
from injected import KilledError, injected
from s3_server import CONTROL
from small import small_document, write_machine

from data.prepared import layout
from data.sharding import parts
from workflows.relay import walk
from workflows.results.clean import find_leftovers
from workflows.results.verify import verify
from workflows.store.store import Store

DECAY = 0.7


@dataclass(frozen=True)
class Command:
    """A command on a store, and the steps that come before it."""

    words: tuple[str, ...]
    before: tuple[str, ...] = ()  # names of steps
    ends: tuple[int, ...] = (0,)  # exit codes of the same command after an attack
    cut: bool = False  # whether the datasets are prepared in several parts, by way of sorted runs


COMMANDS = {
    "prepare": Command(("prepare", "{recipe}")),
    "prepare in parts": Command(("prepare", "{recipe}"), cut=True),
    "train": Command(("train", "{recipe}")),
    "rollback": Command(("rollback", "small", "--to", "1"), ("train",)),
    "extend": Command(
        ("extend", "small", "--path", "{folder}/crane.csv", "--dataset", "crane", "--workers", "0"), ("train",), (0, 2)
    ),  # 2: the first call had done its work
    "search": Command(("search", "{recipe}"), ("train",)),  # whose one trial is in the store: no Ray is started
    "search again": Command(
        ("search", "{recipe}"),
        ("train", "train --set training.decay_rate=0.5 --name other", "search --set search.decay_rate=[0.5]"),
    ),
    "clean": Command(("clean",), ("train", "train --set seed=5 --name other", "forget other")),
}


class Changes(Protocol):
    """How many changes a command has made."""

    count: int


@dataclass(frozen=True)
class Place:
    """A kind of store: its ways to fail, and what is done with the store of one command by its address."""

    hows: tuple[str, ...]
    copy: Callable[[str, str], None]
    attacking: Callable[[str, int, str], contextlib.AbstractContextManager[Changes]]


def _copy_folder(source: str, target: str) -> None:
    shutil.copytree(source, target, copy_function=shutil.copy2, dirs_exist_ok=True)


FOLDER = Place(
    ("full", "killed", "cut"), _copy_folder, lambda address, place, how: injected(f"{address.rstrip('/')}/", place, how)
)


def _copy_objects(source: str, target: str) -> None:
    import boto3

    client, (bucket, _, before), after = boto3.client("s3"), source[5:].partition("/"), target[5:].partition("/")[2]
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{before}/"):
        for each in page.get("Contents", []):
            key = f"{after}{each['Key'].removeprefix(before)}"
            client.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": each["Key"]})


@dataclass
class _Counted:
    count: int = 0


def _control(prefix: str, place: int, how: str) -> int:
    asked = json.dumps({"prefix": prefix, "place": place, "how": how}).encode()
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + CONTROL, asked)
    with urllib.request.urlopen(request) as answer:
        return int(json.load(answer)["count"])


@contextlib.contextmanager
def _attacked_objects(address: str, place: int, how: str) -> Iterator[_Counted]:
    changes = _Counted()
    _control(f"/{address[5:]}/", place, how)
    try:
        yield changes
    finally:
        changes.count = _control("", -1, "")


# "refused": this request, "dead": this one and all after it, as the process is dead, "lost": the answer to what was done
BUCKET = Place(("refused", "dead", "lost"), _copy_objects, _attacked_objects)


@dataclass(frozen=True)
class Stores:
    """The recipe with its data in a folder, and at `address` a store that each command starts from and one it ends with."""

    folder: Path
    address: str
    place: Place

    @staticmethod
    def make(folder: Path, address: str, place: Place, names: Iterable[str] = COMMANDS) -> Stores:
        """Write the data and the recipe, and make the stores of these commands."""
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
        stores = Stores(folder, address, place)
        trained = stores.at("trained")
        assert stores.run(Command(("train", "{recipe}")), trained)[0] == 0
        for name in names:
            stores._make(name, trained)
        return stores

    def _make(self, name: str, trained: str) -> None:
        start = self.at(f"{name} before")
        Store(start).storage.create()
        for step in COMMANDS[name].before:
            what, *words = step.split()
            if what == "forget":
                Store(start).storage.remove(f"runs/{words[0]}")
            elif words:
                assert self.run(Command((what, "{recipe}", *words)), start)[0] == 0
            else:
                self.place.copy(trained, start)
        self.place.copy(start, self.at(f"{name} after"))
        assert self.run(COMMANDS[name], self.at(f"{name} after"))[0] == 0

    def at(self, name: str) -> str:
        """Return the address of one of the stores."""
        return f"{self.address}/{name.replace(' ', '_')}"

    def run(self, command: Command, address: str) -> tuple[int, str, str]:
        """Run a command on the store at an address."""
        filled = [word.format(recipe=self.folder / "small.toml", folder=self.folder) for word in command.words]
        with contextlib.ExitStack() as stack:
            stack.enter_context(patch.object(walk, "STORE_PATIENCE_S", 1.0))  # a store that refuses all is waited for
            if command.cut:
                stack.enter_context(patch.object(layout, "CUT_BYTES", 0))
                stack.enter_context(patch.object(parts, "PART_BYTES", 1))
                stack.enter_context(patch.object(parts, "FEWEST_ROWS", 32))
            return invoke(*filled, "--storage", address)

    def changes_of(self, name: str) -> Changes:
        """Return how many changes a command makes."""
        address = self.at("counted")
        self.place.copy(self.at(f"{name} before"), address)
        Store(address).storage.create()
        with self.place.attacking(address, -1, "") as counted:
            assert self.run(COMMANDS[name], address)[0] == 0
        Store(address).storage.remove("")
        return counted

    def attack(self, name: str, place: int, how: str) -> bool:
        """Attack a command at one change, then run it again; returns whether the attack came before its end."""
        command, address = COMMANDS[name], self.at("attacked")
        Store(address).storage.remove("")  # what an attack that failed has left
        self.place.copy(self.at(f"{name} before"), address)
        try:
            with self.place.attacking(address, place, how) as changes:
                code, out, err = self.run(command, address)
                assert code in (0, 1, 2), (place, how, out, err)
                assert code == 0 or len(err.strip().splitlines()) == 1, (place, how, err)
        except KilledError:
            pass
        store = Store(address)
        store.storage.remove("leases")  # as the process is dead
        code, out, err = self.run(command, address)
        assert code in command.ends, (place, how, code, out, err)
        damaged = verify(store).damaged
        assert damaged == [], (place, how, damaged, out)
        if name == "clean":
            assert find_leftovers(store) == []
        assert seen(store) == seen(Store(self.at(f"{name} after"))), (place, how)
        store.storage.remove("")
        return changes.count > place


def seen(store: Store) -> dict[str, Any]:
    """What a person reads of a store: the numbers of its runs and searches, and what is prepared."""
    storage = store.storage
    found: dict[str, Any] = {"prepared": [name for name in storage.names("prepared") if len(name) == 32]}
    found["checkpoints"] = [
        key for key in storage.names("checkpoints") if "facts.json" in storage.names(f"checkpoints/{key}")
    ]
    for name in storage.names("runs"):
        with contextlib.suppress(FileNotFoundError):
            result = json.loads(storage.read(f"runs/{name}/result.json"))
            found[name] = {key: result[key] for key in ("status", "key", "error_matrix", "forgetting")}
            found[name]["test"] = {name: each["error"] for name, each in result["test"].items()}
        with contextlib.suppress(FileNotFoundError):
            search = json.loads(storage.read(f"runs/{name}/search.json"))
            found[f"search {name}"] = {key: search[key] for key in ("status", "key", "best", "pareto", "best_recipe")}
            found[f"best of {name}"] = storage.read(f"runs/{name}/best.toml").decode()
    return found
