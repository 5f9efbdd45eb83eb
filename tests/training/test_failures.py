"""Runs on a store that is full, disappears or serves two runs at once, and with nodes that are lost and added."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import forkserver
from small import LONG, NUM_LONG_EPOCHS, Run, share_prepared, write_small
from test_recovery import ROOT, weights

import workflows.relay.walk
from workflows.recipe.recipe import load_recipe
from workflows.relay.events import EpochDone, Waiting
from workflows.relay.failures import RunFailedError
from workflows.results.events import Event
from workflows.store.store import Store
from workflows.training.run import train

pytestmark = pytest.mark.ray


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 3 MB; only root can."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_ends_the_run_and_with_more_room_it_goes_on(small_disk: Path, undisturbed: Run, tmp_path: Path) -> None:
    recipe = load_recipe(write_small(tmp_path / "in", **LONG))
    with pytest.raises(RunFailedError, match=r"the store .* cannot be used: .*No space left on device"):
        train(recipe, small_disk / "runs", None, 0)
    num_checkpoints = len(Store(str(small_disk / "runs")).storage.names("checkpoints"))
    assert 3 < num_checkpoints < NUM_LONG_EPOCHS
    assert not [name for name in Store(str(small_disk / "runs")).storage.names("checkpoints") if name.startswith(".")]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    result = train(recipe, small_disk / "runs", None, 0).to_json()
    assert result["epochs_trained"] == NUM_LONG_EPOCHS - (num_checkpoints - 1)
    assert weights(small_disk / "runs", result["key"]) == weights(undisturbed[0] / "runs", undisturbed[1]["key"])


def test_a_run_waits_for_a_store_that_disappears_for_a_while(
    undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows.relay.walk, "STORE_RETRY_S", 0.2)
    storage, away = tmp_path / "runs", tmp_path / "away"
    share_prepared(undisturbed[0] / "runs", storage)
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        num_waited = sum(isinstance(each, Waiting) for each in events)
        if isinstance(event, EpochDone) and not num_waited:
            storage.rename(away)
        elif isinstance(event, Waiting) and num_waited == 3:
            away.rename(storage)

    result = train(load_recipe(write_small(tmp_path, **LONG)), storage, None, 0, watch=watch).to_json()
    assert any(isinstance(event, Waiting) and "storage folder is gone" in event.message for event in events)
    assert result["epochs_trained"] == NUM_LONG_EPOCHS
    assert weights(storage, result["key"]) == weights(undisturbed[0] / "runs", undisturbed[1]["key"])


def train_without_ray(recipe: Path, storage: Path, name: str) -> None:
    """Train a run with 0 workers and small files, which does not start Ray."""
    import ray

    train(load_recipe(recipe), storage, name, 0)
    assert not ray.is_initialized()


def test_two_runs_on_one_store_at_once_end_alike_and_train_no_epoch_twice(undisturbed: Run, tmp_path: Path) -> None:
    """Let two processes prepare, train and commit the same epochs at the same time."""
    recipe, storage = write_small(tmp_path, **LONG), tmp_path / "runs"
    both = [forkserver().Process(target=train_without_ray, args=(recipe, storage, name)) for name in ("small", "other")]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    store = Store(str(storage))
    assert {facts["key"] for facts in store.runs(dict)[0].values()} == {undisturbed[1]["key"]}
    assert sum(facts["epochs_trained"] for facts in store.runs(dict)[0].values()) == NUM_LONG_EPOCHS
    assert store.storage.names("damaged") == store.storage.names("leases") == []
    # the untrained model, the epochs, and the averages that are handed over
    assert len(store.storage.names("checkpoints")) == 1 + NUM_LONG_EPOCHS + 3
    assert weights(storage, undisturbed[1]["key"]) == weights(undisturbed[0] / "runs", undisturbed[1]["key"])


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> dict[str, Any]:
    """Return the facts of tests/support/nodes.py, in about 70 s; test_workers.py checks the results themselves."""
    folder = tmp_path_factory.mktemp("nodes")
    sections: dict[str, Any] = {"model": {"hidden_size": 48}, "rows": 2500}
    write_small(folder, search={"decay_rate": [0.5, 0.9], "epochs": [1, 2]}, **sections).rename(folder / "search.toml")
    recipe = write_small(folder, training={"epochs": 2000}, compute={"num_workers": [1, 2]}, **sections)
    arguments = [str(folder / "search.toml"), str(recipe), str(folder / "runs"), f"{bucket}/{folder.name}"]
    command = [sys.executable, str(ROOT / "tests" / "support" / "nodes.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LSTM_RELAY_CACHE": str(folder / "cache")}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    facts_by_part: dict[str, Any] = json.loads(next(line for line in process.stdout.splitlines() if line.startswith('{"')))
    for what, facts in facts_by_part.items():
        print(what, {name: round(value, 1) for name, value in facts.items() if "seconds" in name})
    return facts_by_part


@pytest.mark.long
def test_prepared_data_reach_every_node_through_a_storage_that_is_no_folder(nodes: dict[str, Any]) -> None:
    driver, others = nodes["prepared"]["own"], nodes["prepared"]["nodes"]
    assert len(others) == 2
    names = [sorted({Path(file).name for file, _ in files}) for files in (driver, *others)]
    assert names[0] == ["manifest.json", "origin.json"]  # the process that started the preparation has no rows
    assert (
        names[1] == names[2] == ["manifest.json", "origin.json", "values-00000.arrow"]
    )  # nobody read the positions of samples
    sizes = [[(Path(file).name, size) for file, size in files] for files in others]
    assert sizes[0] == sizes[1]


@pytest.mark.long
def test_a_search_that_loses_a_node_ends_with_all_trials_and_trains_no_epoch_again(nodes: dict[str, Any]) -> None:
    facts = nodes["search"]
    assert facts["nodes"] == 2
    assert (facts["trials"], facts["failed"]) == (16, [])
    assert facts["distinct"] == 2 + 8 + 16
    assert (
        len(set(facts["trained"])) == len(facts["trained"]) >= 26 - 1
    )  # the lost process may not have reported its last epoch
    # The loss is noticed after 2 s; then a new process starts, as at the beginning.
    assert facts["seconds_until_trial_goes_on"] < 10 + 3 * facts["seconds_until_first_epoch"]


@pytest.mark.long
def test_a_lost_node_takes_its_worker_and_an_added_one_brings_another(nodes: dict[str, Any]) -> None:
    facts = nodes["run"]
    assert facts["nodes"] == 2
    assert facts["before"][-4:] == [2, 2, 2, 2]
    assert 1 in facts["after"]
    assert facts["after"][-3:] == [2, 2, 2]
    # A placement group that waits for the lost node is requested again after 20 s (see cluster.connect). On a quiet machine
    # of two cores this limit is 50 s; on a busy one all starts take longer.
    assert facts["seconds_until_work_goes_on"] < 20 + 3 * facts["seconds_until_first_epoch"]
