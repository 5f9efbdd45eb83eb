"""Two processes at one checkpoint: one does its whole act between any two storage calls of the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from storages import Interrupted, LocalObjects, local
from test_store import KEY, state

import workflows.store.leases
from workflows.store.kept import EpochRecord, Errors
from workflows.store.look import Check, look_at
from workflows.store.storage import Storage
from workflows.store.store import DamagedCheckpointError, Store

KINDS: dict[str, Callable[[Path], Storage]] = {"folder": local, "objects": LocalObjects}
STARTS = ("nothing", "whole", "no facts", "other facts", "other weights", "no weights")


def begin(store: Store, start: str) -> None:
    if start == "nothing":
        return
    record, _ = store.commit(KEY, state(1.0), EpochRecord(KEY, None))
    folder = Path(store.address) / "checkpoints" / KEY
    file = folder / ("facts.json" if "facts" in start else record.files["model.safetensors"].name)
    if start.startswith("no "):
        file.unlink()
    elif start.startswith("other"):
        content = file.read_bytes()
        position = len(content) * 2 // 3
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])


def load(store: Store) -> Any:
    try:
        return float(store.load(KEY).model["head.weight"][0, 0])
    except DamagedCheckpointError:
        return None


def commit(store: Store) -> Any:
    """Commit as a walker does: go on from an existing checkpoint, and train again if it is damaged."""
    for _ in range(3):
        _, written = store.commit(KEY, state(2.0), EpochRecord(KEY, None))
        value = 2.0 if written else load(store)
        if value is not None:
            return value
    return None


def measure(store: Store) -> Any:
    store.add_evaluations(KEY, {"split": Errors(0.5, 1)})
    return store.evaluations(KEY)["split"].error


def remove(store: Store) -> Any:
    store.remove_checkpoint(KEY, "trash/x")


ACTS: dict[str, Callable[[Store], Any]] = {
    "look": lambda store: store.record(KEY) and None,
    "load": load,
    "commit": commit,
    "measure": measure,
    "remove": remove,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("act", ACTS)
def test_no_order_of_calls_sets_a_valid_checkpoint_aside_or_shows_half_of_one(
    act: str, start: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other process is paused until this one is done, so its lease is not waited for. These orders are also possible if
    # an owner sleeps through its lease.
    monkeypatch.setattr(workflows.store.leases, "WAIT_LIMIT_S", 0.0)
    count = 0
    for other, do in ACTS.items():
        call_number, ended = 0, False
        while not ended:
            folder = tmp_path / f"{other} {call_number}"
            folder.mkdir()
            begin(Store(KINDS[kind](folder)), start)
            seen: list[Any] = []
            second = Store(KINDS[kind](folder))
            first = Interrupted(
                KINDS[kind](folder), call_number, lambda do=do, second=second, seen=seen: seen.append(do(second))
            )
            store = Store(first.storage)
            seen.append(ACTS[act](store))
            ended = first.num_calls <= call_number  # the other process had no turn
            if not ended:
                check(folder, KINDS[kind](folder), start, {act, other}, seen)
            call_number += 1
            count += 1
    assert count >= 10


def check(folder: Path, storage: Storage, start: str, acts: set[str], seen: list[Any]) -> None:
    values = [value for value in seen if isinstance(value, float)]
    assert set(values) <= {1.0, 2.0, 0.5}
    assert start != "other weights" or "remove" in acts or 1.0 not in values
    for name in filter(lambda name: storage.names(f"damaged/{name}"), storage.names("damaged")):
        seen_checkpoint = look_at(storage, f"damaged/{name}", KEY, Check.FULL)
        assert seen_checkpoint.damage, f"a valid checkpoint is in damaged/: {name}"
        assert start not in ("nothing", "whole")
    seen_checkpoint = look_at(storage, f"checkpoints/{KEY}", KEY, Check.FULL)
    if "commit" in acts and "remove" not in acts:
        assert seen_checkpoint.record is not None
        assert not seen_checkpoint.damage
        value = float(Store(storage).load(KEY).model["head.weight"][0, 0])
        assert value == (1.0 if start == "whole" else 2.0)
    if "measure" in acts:
        assert Store(storage).evaluations(KEY)["split"].error == 0.5
    assert not storage.names("leases")


def test_a_checkpoint_that_is_committed_between_the_read_and_the_list_is_found(tmp_path: Path) -> None:
    """Repeat a fault of the search of 81 trials: facts.json was looked up, committed, and then its folder was listed."""
    writer = Store(str(tmp_path))
    other = Interrupted(local(tmp_path), 1, lambda: writer.commit(KEY, state(), EpochRecord(KEY, None)))
    reader = Store(other.storage)
    record = reader.record(KEY)
    assert record is not None
    assert torch.equal(reader.load(KEY).model["head.weight"], state().model["head.weight"])
    assert reader.set_aside_now == []
    assert writer.storage.names("damaged") == []
