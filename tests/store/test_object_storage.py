"""A store on an S3 server on loopback, and the same contract for both kinds of storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import invoke
from helpers import processes_that_stay
from small import write_small
from test_store import KEY, state

from data.built_in import make_built_in
from data.prepared.cache import PreparedCache
from data.reading.files import FileNotes, open_input
from data.reading.find import find_files
from workflows.recipe.datasets import find_datasets
from workflows.recipe.recipe import find_recipe, load_recipe
from workflows.results.clean import find_leftovers
from workflows.store.kept import EpochRecord, Errors
from workflows.store.storage import open_storage
from workflows.store.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["folder", "bucket"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def test_both_storages_keep_the_same_contract(address: str) -> None:
    storage = open_storage(address)
    storage.create()
    with pytest.raises(FileNotFoundError):
        storage.read("a/none")
    assert storage.names("a") == []
    storage.write("a/one", b"1")
    storage.write("a/one", b"22")
    assert storage.publish("a/folder", {"x": b"333", "last": b"4"})
    assert not storage.publish("a/folder", {"x-2": b"5555", "last": b"6"})
    assert storage.create_file("c/new", b"1")
    assert not storage.create_file("c/new", b"2")
    assert not storage.take_over("c/new", b"2", b"3")
    assert storage.take_over("c/new", b"1", b"3")
    assert not storage.take_over("c/none", b"1", b"3")
    assert storage.read("c/new") == b"3"
    assert storage.exclusive
    assert storage.read("a/one") == b"22"
    assert storage.read("a/folder/x") == b"333"
    assert storage.names("a") == ["folder", "one"]
    assert (storage.size("a/one"), storage.size("a/folder"), storage.size("a")) == (2, 4, 6)
    storage.withdraw("a/folder", "b/moved", ["last", "x"])
    assert storage.names("b/moved") == ["last", "x"]
    assert storage.names("a/folder") in ([], ["last"])
    storage.put_back("b/moved", "a/folder", "last")
    assert "last" in storage.names("a/folder")
    storage.remove("a/folder")
    storage.remove("b")
    storage.remove("a/one")
    storage.remove("never/there")
    assert storage.names("b") == []
    assert storage.names("a") == []


def test_a_checkpoint_in_either_storage_comes_back_and_damage_is_seen(address: str) -> None:
    store = Store(address)
    store.storage.create()
    store.commit(KEY, state(0.3), EpochRecord(KEY, None))
    store.add_evaluations(KEY, {"split": Errors(0.5, 1)})
    reader = Store(address)
    assert torch.equal(reader.load(KEY).model["head.weight"], state(0.3).model["head.weight"])
    assert reader.evaluations(KEY) == {"split": Errors(0.5, 1)}
    assert [leftover.path for leftover in find_leftovers(reader)] == [f"checkpoints/{KEY}"]
    content = bytearray(store.storage.read(f"checkpoints/{KEY}/facts.json"))
    content[len(content) // 2] ^= 1
    store.storage.write(f"checkpoints/{KEY}/facts.json", bytes(content))
    assert reader.record(KEY) is None
    assert "set aside in damaged/" in reader.set_aside_now[0]
    assert Store(address).record(KEY) is None


def test_a_commit_that_was_interrupted_in_an_object_store_is_no_checkpoint(bucket: str, tmp_path: Path) -> None:
    store = Store(f"{bucket}/{tmp_path.name}")
    store.commit(KEY, state(), EpochRecord(KEY, None))
    store.storage.remove(f"checkpoints/{KEY}/facts.json")
    assert store.record(KEY) is None
    store.commit(KEY, state(0.7), EpochRecord(KEY, None))
    assert float(Store(store.address).load(KEY).model["head.weight"][0, 0]) == pytest.approx(0.7)


def test_built_in_data_are_read_from_the_storage_by_machines_that_did_not_make_them(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSTM_RELAY_CACHE", str(tmp_path / "first"))
    prepared_cache = PreparedCache(f"{bucket}/{tmp_path.name}")
    make_built_in("tutorial", prepared_cache.home / "built_in")
    shared = prepared_cache.share("built_in")
    assert shared == f"{bucket}/{tmp_path.name}/built_in"
    monkeypatch.setenv("LSTM_RELAY_CACHE", str(tmp_path / "second"))
    recipe = load_recipe(find_recipe("tutorial_a"))
    sources, _ = find_datasets(recipe, FileNotes(tmp_path / "facts"), shared)
    assert [source.name for source in sources] == ["dataset_1", "dataset_2", "dataset_3"]
    assert len(find_files(f"{shared}/tutorial/dataset_[13].csv")) == 2  # the brackets are a glob, not part of the address
    made = (prepared_cache.home / "built_in" / "tutorial" / "dataset_1.csv").read_bytes()
    assert open_input(sources[0].files[0]).read() == made
    assert PreparedCache(str(tmp_path)).share("built_in") == str(tmp_path / "built_in")  # a folder is read where it is


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_in_an_object_store_prints_nothing_of_ray_and_is_resumed_on_another_machine(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes about 20 s: a new Ray, two workers. The other machines are this process with other cache folders."""
    address, recipe = f"{bucket}/{tmp_path.name}", str(write_small(tmp_path))
    command = [sys.executable, "-m", "workflows", "train", recipe, "--workers", "2", "--storage", address]
    environment = {**os.environ, "LSTM_RELAY_CACHE": str(tmp_path / "first")}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (process.returncode, process.stderr) == (0, ""), process.stdout + process.stderr
    for line in process.stdout.splitlines():
        assert not any(word in line for word in ("INFO", "WARNING", "ray::", "(raylet)", "DeprecationWarning"))
    assert "6 of 6 epochs trained" in process.stdout
    assert processes_that_stay(f"LSTM_RELAY_CACHE={tmp_path / 'first'}") == []

    def output_on(machine: str, *words: str) -> str:
        monkeypatch.setenv("LSTM_RELAY_CACHE", str(tmp_path / machine))
        code, out, err = invoke(*words, "--storage", address)
        assert (code, err) == (0, "")
        return out

    assert "nothing was trained" in output_on("second", "train", recipe, "--workers", "0")
    assert "2 of 8 epochs trained" in output_on(
        "second", "train", recipe, "--workers", "0", "--set", "datasets.crane.epochs=4"
    )
    assert "finished" in output_on("third", "runs")
    assert "crane" in output_on("third", "log", "small")
    assert f"{address}/runs/small/report.html" in output_on("third", "report", "small")
    words = ["--dataset", "crane", "--input", str(tmp_path / "crane.csv"), "--output", f"{address}/new/crane.csv"]
    assert "1 forecast of 3 steps" in output_on("third", "predict", "small", *words)
    store = Store(address)
    assert len(store.storage.read("new/crane.csv").splitlines()) == 4
    assert store.storage.names("runs/small") == [
        "datasets.json", "events", "ray.log", "recipe.toml", "report.html", "result.json", "run.json",
    ]  # fmt: skip
    assert b"no forecasts" not in store.storage.read("runs/small/report.html")
    (events,) = store.storage.names("runs/small/events")
    assert b"validation_error/crane" in store.storage.read(f"runs/small/events/{events}")
    assert all(len(name) == 32 for name in store.storage.names("prepared"))
    result = json.loads(store.storage.read("runs/small/result.json"))
    assert "not-a-secret" not in json.dumps(result)


def test_a_small_object_is_one_request_and_a_large_one_is_uploaded_in_parts(bucket: str) -> None:
    """Look at the tag of an object, which ends in the number of parts if it was uploaded in parts."""
    import boto3

    client = boto3.client("s3")
    for name, size, parts in (("small", 100_000, ""), ("large", 30_000_000, "-")):
        open_storage(bucket).write(f"requests/{name}", b"x" * size)
        tag = client.head_object(Bucket=bucket.removeprefix("s3://"), Key=f"requests/{name}")["ETag"]
        assert ("-" in tag) == bool(parts)
