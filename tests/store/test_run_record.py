"""A run is one record: what belongs together is published at once, and what is damaged is named and never used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from storages import Interrupted, StoppedError, local, stopped_at

from data.errors import InputError
from data.signed import read_signed, signed
from workflows.store.run_record import RunRecord
from workflows.store.store import Store


def record(number: int) -> RunRecord:
    """A record whose parts all say which one they are of."""
    result = {"name": "a", "status": "finished", "key": str(number), "datasets": ["x"], "stages": [], "epochs_requested": 1}
    described = {"name": "x", "prepared": str(number), "settings": {}, "encoding": {}, "epochs": 1, "where": {}}
    return RunRecord(result, f"seed = {number}\n", [{**described, "classes": False}])


def number_of(found: RunRecord) -> set[str]:
    assert found.datasets is not None
    assert found.recipe is not None
    return {found.result["key"], found.datasets[0]["prepared"], found.recipe.split()[-1]}


@pytest.mark.parametrize("how", ["full", "killed"])
def test_whatever_call_fails_a_reader_finds_one_record_whole(tmp_path: Path, how: str) -> None:
    for place in range(20):
        store = Store(str(tmp_path / str(place)))
        store.publish("a", record(1))
        stopped: Interrupted = stopped_at(local(tmp_path / str(place)), place, how)
        try:
            Store(stopped.storage).publish("a", record(2))
        except (OSError, StoppedError):
            pass
        else:
            assert place in (4, 5)  # run.json, three copies, and a look whether it still counts, which may fail
            break
        found = Store(str(tmp_path / str(place))).ended("a")
        assert found is not None
        assert number_of(found) == ({"1"} if place == 0 else {"2"})


def test_of_two_writers_at_once_one_wins_whole(tmp_path: Path) -> None:
    for place in range(5):
        storage = local(tmp_path)
        between = Interrupted(storage, place, lambda: Store(str(tmp_path)).publish("a", record(2)))
        Store(between.storage).publish("a", record(1))
        found = Store(str(tmp_path)).ended("a")
        assert found is not None
        assert number_of(found) == ({"1"} if place == 0 else {"2"})
        copy = json.loads((tmp_path / "runs" / "a" / "result.json").read_text())
        assert copy == found.result


def test_a_run_of_three_files_is_read_and_its_copies_are_not_once_it_is_one_record(tmp_path: Path) -> None:
    store, old = Store(str(tmp_path)), record(1)
    store.write_run("a", "result.json", json.dumps(old.result).encode())
    store.write_run("a", "recipe.toml", (old.recipe or "").encode())
    assert store.ended("a") == RunRecord(old.result, old.recipe, None)
    store.write_run("a", "datasets.json", json.dumps(old.datasets).encode())
    assert store.ended("a") == old
    store.publish("a", record(2))
    store.write_run("a", "result.json", json.dumps(old.result).encode())
    assert store.ended("a") == record(2)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\0", b"[" * 5000, b"{}", b'{"version": "1"}'])
def test_one_odd_record_is_named_and_hides_no_other(tmp_path: Path, content: bytes) -> None:
    store = Store(str(tmp_path))
    store.publish("a", record(1))
    store.publish("b", record(2))
    store.storage.write("runs/a/run.json", content)
    with pytest.raises(InputError, match=r"runs/a/run\.json"):
        store.ended("a")
    assert list(store.runs(dict)[0]) == ["b"]
    assert "runs/a/run.json" in store.runs(dict)[1][0]
    store.publish("a", record(3))
    assert store.runs(dict)[1] == []


@pytest.mark.parametrize("place", ["folder", "link"])
def test_what_is_no_file_is_no_missing_file_and_is_set_aside_when_the_run_is_written(tmp_path: Path, place: str) -> None:
    store = Store(str(tmp_path))
    store.publish("a", record(1))
    file = tmp_path / "runs" / "a" / "run.json"
    file.unlink()
    if place == "folder":
        file.mkdir()
        (file / "mine.txt").write_text("mine")
    else:
        file.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="in the place of the file"):
        store.ended("a")
    store.publish("a", record(2))
    found = store.ended("a")
    assert found is not None
    assert number_of(found) == {"2"}
    if place == "folder":
        assert [path.read_text() for path in tmp_path.glob("damaged/*/mine.txt")] == ["mine"]


@pytest.mark.parametrize("content", [{}, {"a": 1.5, "b": [None, "ü\ud800"]}, {"sha256": "x", "c": {"d": float("inf")}}])
def test_a_flipped_bit_of_a_signed_record_is_noticed(content: dict[str, Any]) -> None:
    written = signed(content)
    assert read_signed(written) == {key: value for key, value in content.items() if key != "sha256"}
    known = set()
    for bit in range(8 * len(written)):
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = read_signed(bytes(flipped))
        except ValueError:
            continue
        known.add(json.dumps({key: value for key, value in found.items() if len(str(value)) != 64}, sort_keys=True))
    kept = {key: value for key, value in content.items() if key != "sha256"}
    assert known <= {json.dumps(kept, sort_keys=True)}  # only white space, or the name of the hash, was changed
