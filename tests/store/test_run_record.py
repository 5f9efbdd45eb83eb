"""A run is one record, published at once; a damaged one is named and never used."""

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
    """Return a record with its number in all parts."""
    result = {"name": "a", "status": "finished", "key": str(number), "datasets": ["x"], "stages": [], "epochs_requested": 1}
    described = {"name": "x", "prepared": str(number), "settings": {}, "encoding": {}, "epochs": 1, "where": {}}
    return RunRecord(result, f"seed = {number}\n", [{**described, "classes": False}])


def number_of(run: RunRecord) -> set[str]:
    assert run.datasets is not None
    assert run.recipe is not None
    return {run.result["key"], run.datasets[0]["prepared"], run.recipe.split()[-1]}


@pytest.mark.parametrize("how", ["full", "killed"])
def test_a_reader_gets_one_complete_record_whichever_call_fails(tmp_path: Path, how: str) -> None:
    for call_number in range(20):
        store = Store(str(tmp_path / str(call_number)))
        store.publish("a", record(1))
        stopped: Interrupted = stopped_at(local(tmp_path / str(call_number)), call_number, how)
        try:
            Store(stopped.storage).publish("a", record(2))
        except (OSError, StoppedError):
            pass
        else:
            assert call_number in (4, 5)  # run.json, three copies, and a look whether it still counts, which may fail
            break
        run = Store(str(tmp_path / str(call_number))).ended("a")
        assert run is not None
        assert number_of(run) == ({"1"} if call_number == 0 else {"2"})


def test_one_of_two_concurrent_writers_wins_completely(tmp_path: Path) -> None:
    for call_number in range(5):
        storage = local(tmp_path)
        between = Interrupted(storage, call_number, lambda: Store(str(tmp_path)).publish("a", record(2)))
        Store(between.storage).publish("a", record(1))
        run = Store(str(tmp_path)).ended("a")
        assert run is not None
        assert number_of(run) == ({"1"} if call_number == 0 else {"2"})
        copy = json.loads((tmp_path / "runs" / "a" / "result.json").read_text())
        assert copy == run.result


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
def test_a_damaged_record_is_named_and_hides_no_other(tmp_path: Path, content: bytes) -> None:
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


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_or_link_instead_of_a_record_is_refused_and_set_aside_when_the_run_is_written(
    tmp_path: Path, kind: str
) -> None:
    store = Store(str(tmp_path))
    store.publish("a", record(1))
    file = tmp_path / "runs" / "a" / "run.json"
    file.unlink()
    if kind == "folder":
        file.mkdir()
        (file / "mine.txt").write_text("mine")
    else:
        file.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="in the place of the file"):
        store.ended("a")
    store.publish("a", record(2))
    run = store.ended("a")
    assert run is not None
    assert number_of(run) == {"2"}
    if kind == "folder":
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
            content_read = read_signed(bytes(flipped))
        except ValueError:
            continue
        known.add(json.dumps({key: value for key, value in content_read.items() if len(str(value)) != 64}, sort_keys=True))
    kept = {key: value for key, value in content.items() if key != "sha256"}
    assert known <= {json.dumps(kept, sort_keys=True)}  # only white space, or the name of the hash, was changed
