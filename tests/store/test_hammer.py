"""Eight processes on one store, with random sleeps at every storage call: valid data are kept, only damage is reported."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import forkserver
from storages import slow_storage

from data.errors import InputError
from workflows.results.clean import clean
from workflows.store.kept import EpochRecord, Errors
from workflows.store.look import Check, look_at
from workflows.store.storage import open_storage
from workflows.store.store import DamagedCheckpointError, State, Store

PROCESSES = 8
REACHED = [f"{number:032x}" for number in range(1, 7)]  # a run points at the last one, each has the one before as parent
UNREACHED = [f"{number:032x}" for number in range(101, 104)]
SHORT_S, LONG_S = 3.0, 60.0
MIN_ACTS = 30  # of each process, however busy the machine is


def parent_of(key: str) -> str | None:
    return None if key == REACHED[0] else REACHED[REACHED.index(key) - 1] if key in REACHED else REACHED[0]


def state_of(value: float) -> State:
    return State({"weight": torch.full((400,), value)}, {"moment": torch.full((400,), -value)})


def value_of(state: State) -> float:
    """Return the number that a state was made of; fail if parts of it are of another state."""
    (value,) = set(state.model["weight"].tolist())
    assert set(state.optimizer["moment"].tolist()) == {-value}
    return float(value)


def work(address: str, seed: int, seconds: float, with_clean: bool, log: Path, environment: dict[str, str]) -> None:
    """Use the store at random in each process, and write what it returned to a log."""
    os.environ.update(environment)
    chance, store = random.Random(seed), Store(slow_storage(address, seed))
    seen: list[Any] = []
    until, num_acts = time.monotonic() + seconds, 0
    while time.monotonic() < until or num_acts < MIN_ACTS:
        num_acts += 1
        act = chance.choice(["commit", "commit", "load", "load", "look", "add", "add", "evaluations", "clean"])
        key = chance.choice(REACHED + UNREACHED)
        if act == "commit":
            _, written = store.commit(key, state_of(float(seed)), EpochRecord(key, parent_of(key), samples=seed))
            if written:
                seen.append(["committed", key, seed])
        elif act == "load":
            try:
                seen.append(["loaded", key, value_of(store.load(key))])
            except DamagedCheckpointError:
                continue
        elif act == "look":
            record = store.record(key)
            if record is not None:
                seen.append(["loaded", key, float(record.samples)])
        elif act == "add":
            split = f"{seed} {len(seen)}"
            store.add_evaluations(key, {split: Errors(float(len(seen)), seed)})
            seen.append(["added", key, split, float(len(seen))])
        elif act == "evaluations":
            store.evaluations(key)
        elif with_clean and chance.random() < 0.3:
            with contextlib.suppress(InputError):  # another process cleans
                clean(store, dry_run=False)
        if chance.random() < 0.05:
            store = Store(slow_storage(address, seed + len(seen)))
    log.write_text(json.dumps({"seen": seen, "set aside": store.set_aside_now}))


def hammer(address: str, folder: Path, seconds: float, with_clean: bool, damage: Any = None) -> list[dict[str, Any]]:
    """Let the processes work; return their logs."""
    store = Store(address)
    store.storage.create()
    result = {"name": "run", "status": "finished", "when": 0.0, "key": REACHED[-1], "prepared": [], "datasets": []}
    result |= {"epochs_requested": len(REACHED) - 1}
    result |= {"stages": [{"dataset": "a", "keys": REACHED[1:], "handed_over": 1}]}
    store.write_run("run", "result.json", json.dumps(result).encode())
    for key in REACHED:
        store.commit(key, state_of(0.0), EpochRecord(key, parent_of(key)))
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    logs = [folder / f"log {seed}.json" for seed in range(1, PROCESSES + 1)]
    processes = [
        forkserver().Process(target=work, args=(address, seed, seconds, with_clean, log, environment))
        for seed, log in enumerate(logs, 1)
    ]
    for process in processes:
        process.start()
    if damage is not None:
        damage(time.monotonic() + seconds)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    return [json.loads(log.read_text()) for log in logs]


def check_whole(address: str, logs: list[dict[str, Any]]) -> None:
    """Check that no valid checkpoint was set aside, each kept epoch had one content, and no evaluation was lost."""
    storage = open_storage(address)
    assert storage.names("damaged") == []
    assert [log["set aside"] for log in logs] == [[]] * PROCESSES
    values, added = defaultdict(set), {}
    for kind, key, *rest in (entry for log in logs for entry in log["seen"]):
        if kind == "added":
            added[key, rest[0]] = rest[1]
        elif key in REACHED:
            values[key].add(rest[0])
    assert {key: seen for key, seen in values.items() if seen != {0.0}} == {}
    store = Store(address)
    for key in REACHED:
        assert value_of(store.load(key)) == 0.0
        kept = store.evaluations(key)
        assert {split: error for (k, split), error in added.items() if k == key} == {s: e.error for s, e in kept.items()}
    assert storage.names("leases") == []


def address_of(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if kind == "folder" else f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


@pytest.mark.parametrize("kind", ["folder", "bucket"])
@pytest.mark.parametrize("seconds", [SHORT_S, pytest.param(LONG_S, marks=pytest.mark.long)])
def test_eight_processes_at_one_store_lose_nothing(
    kind: str, seconds: float, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    address = address_of(kind, request, tmp_path)
    logs = hammer(address, tmp_path, seconds, with_clean=True)
    check_whole(address, logs)
    assert sum(len(log["seen"]) for log in logs) > PROCESSES * MIN_ACTS / 3


@pytest.mark.parametrize("kind", ["folder", "bucket"])
@pytest.mark.parametrize("seconds", [SHORT_S, pytest.param(LONG_S, marks=pytest.mark.long)])
def test_each_damage_is_found_and_nothing_else(
    kind: str, seconds: float, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Damage one valid checkpoint after the other; the eight processes notice it, set it aside and commit again."""
    address = address_of(kind, request, tmp_path)
    storage, chance, done = open_storage(address), random.Random(5), []

    def damage(until: float) -> None:
        while time.monotonic() < until or len(done) < 2:  # on a busy machine the processes may end before
            key = chance.choice(REACHED)
            seen = look_at(storage, f"checkpoints/{key}", key, Check.FULL)
            if seen.record is None or seen.damage:
                continue
            names = [each.name for each in seen.record.files.values()] + ["facts.json"]
            path = f"checkpoints/{key}/{chance.choice(names)}"
            content = bytearray(storage.read(path))
            how = chance.choice(["flip", "cut", *(["remove"] if storage.local else [])])
            if how == "flip":
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            if how == "remove":
                storage.remove(path)
            else:
                storage.write(path, bytes(content[: len(content) // 2] if how == "cut" else content))
            done.append(path)
            time.sleep(0.05)

    hammer(address, tmp_path, seconds, with_clean=False, damage=damage)
    reader = Store(address)
    for key in REACHED:
        with contextlib.suppress(DamagedCheckpointError):  # noticed now, or before and not yet committed again
            value_of(reader.load(key))
    names = storage.names("damaged")
    for name in names:
        seen = look_at(storage, f"damaged/{name}", name.partition("-")[0], Check.FULL)
        assert seen.damage, f"{name} is valid"
    assert len(names) == len(done) > 1
