from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import torch

from data.errors import InputError
from workflows.store.kept import METRICS_VERSION, RECORD_VERSION, EpochRecord, Errors, sealed
from workflows.store.store import DamagedCheckpointError, State, Store

KEY = "0123456789abcdef"


def state(value: float = 1.0) -> State:
    return State({"head.weight": torch.full((3, 2), value)}, {"exp_avg.head.weight": torch.full((3, 2), value / 2)})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "runs"))
    store.storage.create()
    return store


def test_a_committed_state_comes_back_bit_for_bit_with_its_facts(store: Store) -> None:
    store.commit(KEY, state(0.1), EpochRecord(KEY, "abc", train_loss=0.25))
    record = Store(store.address).record(KEY)
    assert record is not None
    assert (record.key, record.parent, record.train_loss) == (KEY, "abc", 0.25)
    loaded = Store(store.address).load(KEY)
    assert torch.equal(loaded.model["head.weight"], state(0.1).model["head.weight"])
    assert torch.equal(loaded.optimizer["exp_avg.head.weight"], state(0.1).optimizer["exp_avg.head.weight"])


def test_an_absent_checkpoint_has_no_record(store: Store) -> None:
    assert store.record(KEY) is None
    with pytest.raises(DamagedCheckpointError):
        store.load(KEY)


def test_an_existing_checkpoint_is_not_replaced(store: Store) -> None:
    store.commit(KEY, state(1.0), EpochRecord(KEY, None))
    store.commit(KEY, state(2.0), EpochRecord(KEY, None))
    assert float(store.load(KEY).model["head.weight"][0, 0]) == 1.0
    assert os.listdir(Path(store.address) / "checkpoints") == [KEY]


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        position = len(content) * 2 // 3
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])


@pytest.mark.parametrize("how", ["cut", "flip", "delete"])
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "facts.json"])
def test_a_damaged_checkpoint_is_named_and_set_aside(store: Store, file: str, how: str) -> None:
    store.commit(KEY, state(), EpochRecord(KEY, None))
    damage(Path(store.address) / "checkpoints" / KEY / file, how)
    reader = Store(store.address)
    assert reader.record(KEY) is None
    assert KEY in reader.set_aside_now[0]
    assert file in reader.set_aside_now[0]
    assert not (Path(store.address) / "checkpoints" / KEY).exists()
    (folder,) = (Path(store.address) / "damaged").iterdir()
    assert file in (folder / "why.txt").read_text()
    store.commit(KEY, state(), EpochRecord(KEY, None))
    assert Store(store.address).record(KEY) is not None


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_damage_after_the_look_up_is_seen_when_the_state_is_loaded(store: Store, file: str) -> None:
    store.commit(KEY, state(), EpochRecord(KEY, None))
    assert store.record(KEY) is not None
    damage(Path(store.address) / "checkpoints" / KEY / file, "flip")
    with pytest.raises(DamagedCheckpointError, match=file):
        store.load(KEY)


def test_evaluations_add_up_and_a_damaged_one_is_measured_again(store: Store) -> None:
    store.commit(KEY, state(), EpochRecord(KEY, None))
    store.add_evaluations(KEY, {"split a": Errors(0.5, 1)})
    store.add_evaluations(KEY, {"split b": Errors(0.7, 1), "split c": Errors(0.9, 1)})
    assert {name: errors.error for name, errors in store.evaluations(KEY).items()} == {
        "split a": 0.5,
        "split b": 0.7,
        "split c": 0.9,
    }
    assert not list((Path(store.address) / "checkpoints" / KEY).glob("evaluations-*"))
    for file in (Path(store.address) / "evaluations" / KEY).iterdir():
        if b"split c" in file.read_bytes():
            file.write_bytes(file.read_bytes().replace(b"0.9", b"0.1"))
    assert set(store.evaluations(KEY)) == {"split a"}
    assert "measured again" in store.set_aside_now[0]
    store.add_evaluations(KEY, {"split c": Errors(0.9, 1), "split b": Errors(0.7, 1)})
    assert store.evaluations(KEY)["split c"].error == 0.9


def test_the_first_evaluation_is_kept_unless_a_later_version_of_the_metrics_replaces_it(store: Store) -> None:
    store.commit(KEY, state(), EpochRecord(KEY, None))
    store.add_evaluations(KEY, {"a": Errors(0.5, 1)})
    store.add_evaluations(KEY, {"a": Errors(0.51, 1)})
    store.add_evaluations(KEY, {"a": Errors(0.52, 1), "b": Errors(0.1, 1)})
    assert store.evaluations(KEY)["a"] == Errors(0.5, 1)
    later = Errors(0.5, 1, mse=0.6, version=METRICS_VERSION + 1)
    store.add_evaluations(KEY, {"a": later})
    assert store.evaluations(KEY)["a"] == later


def test_a_checkpoint_of_a_later_program_is_refused_and_left_alone(store: Store) -> None:
    record, _ = store.commit(KEY, state(), EpochRecord(KEY, None))
    later = {**record.to_json(), "version": RECORD_VERSION + 1}
    store.storage.write(f"checkpoints/{KEY}/facts.json", sealed(later))
    with pytest.raises(InputError, match="update lstm-relay"):
        Store(store.address).record(KEY)
    assert store.storage.names("damaged") == []


def test_an_interrupted_commit_leaves_nothing_that_a_reader_takes_for_a_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        store.commit(KEY, state(), EpochRecord(KEY, None))
    monkeypatch.undo()
    assert store.record(KEY) is None
    assert os.listdir(Path(store.address) / "checkpoints") == []


def test_a_storage_folder_that_went_away_is_not_made_again(store: Store, tmp_path: Path) -> None:
    store.commit(KEY, state(), EpochRecord(KEY, None))
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="storage folder is gone"):
        store.record("another")
    with pytest.raises(OSError, match="storage folder is gone"):
        store.commit("another", state(), EpochRecord(KEY, None))
    assert not (tmp_path / "runs").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "runs")
    assert store.record(KEY) is not None


def test_a_run_has_its_latest_status(store: Store) -> None:
    known = {"key": KEY, "datasets": ["x"], "epochs_requested": 2}
    result = {**known, "name": "a", "status": "finished", "when": 1.0, "stages": []}
    store.write_run("a", "result.json", json.dumps(result).encode())
    store.write_run("b", "progress.json", json.dumps({**known, "status": "running", "when": time.time()}).encode())
    store.write_run("a", "progress.json", json.dumps({**known, "status": "failed", "when": 9.0}).encode())
    assert {name: facts["status"] for name, facts in store.runs(dict)[0].items()} == {"a": "failed", "b": "running"}
    assert store.result("a", dict) == result
    assert store.run("nobody", dict) is None


def test_checkpoints_contain_no_pickle(store: Store) -> None:
    store.commit(KEY, state(), EpochRecord(KEY, None))
    for path in (Path(store.address) / "checkpoints" / KEY).iterdir():
        assert path.suffix in (".safetensors", ".json")
        assert b"\x80\x04" not in path.read_bytes()[:64]
