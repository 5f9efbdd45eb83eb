"""A store that is full, that goes away, that two runs use at once; nodes that are lost and added."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small import write_small
from test_recovery import LONG, ROOT, start, weights

from workflows.chain.store import Store
from workflows.recipe import load_recipe
from workflows.training import train
from workflows.workers import RunFailedError

pytestmark = pytest.mark.ray
LONG_RUN = 48  # epochs of the recipe LONG


@pytest.fixture(scope="module")
def undisturbed(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, train(load_recipe(write_small(folder, **LONG)), folder / "runs", None, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, as root can make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("a small file system can be mounted by root only")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_ends_the_run_and_with_more_room_it_goes_on(
    small_disk: Path, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    recipe = load_recipe(write_small(tmp_path / "in", **LONG))
    with pytest.raises(RunFailedError, match=r"the store .* cannot be used: .*No space left on device"):
        train(recipe, small_disk / "runs", None, 0)
    held = len(Store(str(small_disk / "runs")).storage.names("checkpoints"))
    assert 3 < held < LONG_RUN
    assert not [name for name in Store(str(small_disk / "runs")).storage.names("checkpoints") if name.startswith(".")]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    result = train(recipe, small_disk / "runs", None, 0)
    assert result["epochs_trained"] == LONG_RUN - (held - 1)
    assert weights(small_disk / "runs", result["key"]) == weights(undisturbed[0] / "runs", undisturbed[1]["key"])


def test_a_store_that_goes_away_for_a_while_is_waited_for(undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    storage, away = tmp_path / "runs", tmp_path / "away"
    said: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> None:
        said.append(event)
        if event["event"] == "epoch" and not away.exists() and not any(each["event"] == "waiting" for each in said):
            storage.rename(away)
            threading.Timer(2.5, lambda: away.rename(storage)).start()

    result = train(load_recipe(write_small(tmp_path, **LONG)), storage, None, 0, watch=watch)
    assert any(event["event"] == "waiting" and "storage folder is gone" in event["message"] for event in said)
    assert result["epochs_trained"] == LONG_RUN
    assert weights(storage, result["key"]) == weights(undisturbed[0] / "runs", undisturbed[1]["key"])


@pytest.mark.slow
def test_two_runs_on_one_store_at_once_end_alike(undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """About 20 s: two programs."""
    recipe, storage = write_small(tmp_path, **LONG), tmp_path / "runs"
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace('name = "small"', 'name = "other"'))
    both = [start(recipe, storage, 0), start(other, storage, 0)]
    for process in both:
        out = process.communicate(timeout=300)[0]
        assert process.returncode == 0, out
    store = Store(str(storage))
    assert {facts["key"] for facts in store.runs().values()} == {undisturbed[1]["key"]}
    assert store.storage.names("damaged") == []
    assert len(store.storage.names("checkpoints")) == LONG_RUN + 1
    assert weights(storage, undisturbed[1]["key"]) == weights(undisturbed[0] / "runs", undisturbed[1]["key"])


@pytest.mark.slow
def test_a_lost_node_takes_its_worker_and_an_added_one_brings_another(tmp_path: Path) -> None:
    """About 80 s: three Ray nodes, elastic workers. test_workers.py holds that their number changes no result."""
    sections: dict[str, Any] = {"training": {"epochs": 2000}, "model": {"hidden_size": 48}, "rows": 2500}
    recipe = write_small(tmp_path, compute={"num_workers": [1, 2]}, **sections)
    command = [sys.executable, str(ROOT / "tests" / "nodes.py"), str(recipe), str(tmp_path / "runs")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    told = json.loads(next(line for line in found.stdout.splitlines() if line.startswith('{"workers"')))
    assert told["workers"][:4] == [2, 2, 2, 2]
    assert 1 in told["workers"]
    assert told["workers"][-3:] == [2, 2, 2]
    assert told["seconds_until_work_goes_on"] < 60
