"""A hundred trials and two hundred datasets leave no actor, process, file or memory behind."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomli_w
from small import small_document, write_machine, write_small

from workflows.prepare.preparation import prepare_datasets
from workflows.recipe.recipe import load_recipe
from workflows.search.search import search

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the resources of a process are read from /proc"),
]
SPARE_BYTES = 100 << 20  # far less than 100 trials or 200 datasets of 1 MB each, more than allocators keep for the next use
SPARE_PROCESSES = 2  # one idle worker a core waits for the next task
SPARE_FILES = 16  # Ray keeps a few connections to what has just ended


@dataclass
class Resources:
    """The resources that this process and its Ray use."""

    actors: set[str]
    processes: int
    files: int
    maps: int
    memory_bytes: int
    scratch: set[str]
    cores: float


def resources() -> Resources:
    import ray

    gc.collect()
    actors = ray._private.state.actors().values()
    return Resources(
        actors={f"{each['ActorClassName']} {each['ActorID']}" for each in actors if each["State"] != "DEAD"},
        processes=num_workers(),
        files=len(os.listdir("/proc/self/fd")),
        maps=sum(".arrow" in line for line in Path("/proc/self/maps").read_text().splitlines()),
        memory_bytes=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"),
        scratch=set(os.listdir(tempfile.gettempdir())),
        cores=ray.available_resources().get("CPU", 0.0),
    )


def num_workers() -> int:
    """Return the number of worker processes of this session's Ray, busy or idle."""
    children: dict[int, list[int]] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    count, todo = 0, [os.getpid()]
    while todo:
        for child in children.get(todo.pop(), []):
            todo.append(child)
            count += names[child].startswith("ray::")
    return count


@pytest.fixture(autouse=True)
def own_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a folder for temporary files that no other program uses."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))


def assert_nothing_is_left(before: Resources) -> None:
    for _ in range(60):  # actors take a moment to end
        after = resources()
        if after.actors <= before.actors and after.cores == before.cores:
            break
        time.sleep(0.25)
    assert after.actors <= before.actors
    assert after.processes - before.processes <= SPARE_PROCESSES
    assert after.cores == before.cores
    assert after.files - before.files <= SPARE_FILES
    assert after.maps <= before.maps
    assert after.scratch <= before.scratch
    assert after.memory_bytes - before.memory_bytes < SPARE_BYTES


def once_and_again(once: Callable[[], object], again: Callable[[], object]) -> None:
    """Count the resources of the second call only: the first imports, starts pools and fills caches."""
    once()
    before = resources()
    again()
    assert_nothing_is_left(before)


def test_two_hundred_datasets_are_prepared_and_nothing_is_left(ray_session: None, tmp_path: Path) -> None:
    """Takes about 8 s."""

    def prepare(folder: Path, count: int) -> None:
        folder.mkdir()
        for number in range(count):
            write_machine(folder / f"machine_{number:03d}.csv", number % 7, rows=60, seed=number)
        recipe = folder / "many.toml"
        recipe.write_text(tomli_w.dumps(small_document(datasets=[{"name": "{file}", "path": "machine_*.csv"}])))
        prepared = prepare_datasets(load_recipe(recipe), str(folder / "runs"))
        assert len(prepared.datasets) == count
        assert sum(each.num_samples("train") for each in prepared.datasets) > 10 * count
        names = {path.name for path in (folder / "runs" / "prepared").iterdir()}
        assert names == {each.prepared.folder.name for each in prepared.datasets} | {"sources"}

    once_and_again(lambda: prepare(tmp_path / "few", 3), lambda: prepare(tmp_path / "many", 200))


@pytest.mark.parametrize("rates", [5, pytest.param(10, marks=pytest.mark.long)])
def test_a_search_of_many_trials_leaves_nothing(ray_session: None, tmp_path: Path, rates: int) -> None:
    """Run 25 and 100 trials: 31 and 111 epochs of 3 steps."""

    def run(folder: Path, rates: list[float]) -> None:
        recipe = write_small(
            folder, rows=60, search={"decay_rate": [rates, rates]}, training={"epochs": 1}, model={"hidden_size": 4}
        )
        result = search(load_recipe(recipe), folder / "runs").to_json()
        assert len(result["trials"]) == len(rates) ** 2
        assert result["epochs_trained"] == 1 + len(rates) + len(rates) ** 2
        hidden = [path for path in (folder / "runs").rglob(".*") if path.name not in (".", "..")]
        assert hidden == []  # no lease, no half-written checkpoint, nothing of Tune's

    many = [number / rates for number in range(1, rates + 1)]
    once_and_again(lambda: run(tmp_path / "few", [0.5]), lambda: run(tmp_path / "many", many))
