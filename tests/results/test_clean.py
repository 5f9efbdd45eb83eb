"""`clean` keeps whatever a running command needs, cannot read, or did not write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from helpers import train_in_process
from small import write_small
from storages import Interrupted, StoppedError, local, stopped_at

from data.errors import InputError
from workflows.recipe.recipe import Recipe, load_recipe
from workflows.relay.walk import Walker
from workflows.results.clean import clean, find_leftovers
from workflows.store.store import Store
from workflows.store.usage import commands_using

QUICK: dict[str, Any] = {"rows": 120, "model": {"hidden_size": 4}, "training": {"epochs": 2, "batch_size": 32}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """Train a run, and one of another seed that no run record reaches any more."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = load_recipe(write_small(folder, **QUICK))
    train_in_process(load_recipe(folder / "small.toml", ["seed=9"]), folder / "runs")
    train_in_process(recipe, folder / "runs")
    return recipe, folder / "runs"


@pytest.fixture
def used(trained: tuple[Recipe, Path], tmp_path: Path) -> tuple[Recipe, Path]:
    shutil.copytree(trained[1], tmp_path / "runs", copy_function=shutil.copy2)
    return trained[0], tmp_path / "runs"


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_checkpoints_that_no_run_reaches_are_removed_and_the_run_is_kept(used: tuple[Recipe, Path]) -> None:
    recipe, storage = used
    removed = {leftover.path.split("/")[0] for leftover in clean(Store(str(storage)), dry_run=False)}
    assert removed == {"checkpoints"}
    assert find_leftovers(Store(str(storage))) == []
    store, run = train_in_process(recipe, storage)
    assert run.result is not None
    assert run.result.epochs_trained == 0
    assert set(store.storage.names("evaluations")) <= set(store.storage.names("checkpoints"))
    assert store.storage.names("trash") == []


def test_clean_in_the_first_new_epoch_of_a_resumed_run_removes_nothing(
    used: tuple[Recipe, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, storage = used
    shutil.rmtree(storage / "runs")
    kept = {path.name for path in (storage / "checkpoints").iterdir()}
    shutil.rmtree(storage / "checkpoints" / sorted(kept)[0])
    kept.remove(sorted(kept)[0])
    train, refused = Walker._train, list[str]()

    def train_beside_clean(walker: Walker, *args: Any) -> Any:
        with pytest.raises(InputError) as error:
            clean(Store(str(storage)), dry_run=False)
        refused.append(str(error.value))
        return train(walker, *args)

    monkeypatch.setattr("workflows.store.usage.SILENCE_S", 0.0)  # it lives in this process, so its lease is renewed or not
    monkeypatch.setattr(Walker, "_train", train_beside_clean)
    _, run = train_in_process(recipe, storage)
    assert run.result is not None
    assert len(refused) == run.result.epochs_trained <= 2
    assert all("clean: train uses" in words for words in refused)
    assert kept <= {path.name for path in (storage / "checkpoints").iterdir()}


def test_a_new_store_is_protected_from_its_first_file_on_and_removed_if_none_was_written(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path / "runs"))
    with store.using("prepare") as usage:
        assert not (tmp_path / "runs").exists()
        usage.begin(make=True)
        assert [name.rpartition("-")[0] for name in store.storage.names("leases")] == ["using-prepare"]
    assert not (tmp_path / "runs").exists()
    with store.using("prepare") as usage:
        usage.begin(make=True)
        store.storage.write("prepared/x", b"x")
    assert store.storage.names("prepared") == ["x"]


def test_the_lease_of_a_dead_command_is_removed(used: tuple[Recipe, Path]) -> None:
    store = Store(str(used[1]))
    dead = json.dumps({"place": "elsewhere", "pid": 1, "id": "x", "beat": 0}).encode()
    store.storage.write("leases/using-train-01234567", dead)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workflows.store.leases.SILENCE_S", 0.05)
        assert commands_using(store.leases) == []
    assert store.storage.names("leases") == []


@pytest.mark.parametrize("file", ["run.json", "progress.json", "search.json"])
@pytest.mark.parametrize("content", [b"\0", b"", b"[]", b'{"name": "small"}', b'"text"'])
def test_a_run_that_cannot_be_read_is_named_and_nothing_is_removed(
    used: tuple[Recipe, Path], file: str, content: bytes
) -> None:
    (used[1] / "runs" / "small" / file).write_bytes(content)
    before = files_below(used[1])
    for words in ((), ("--dry-run",)):
        code, _, err = invoke("clean", *words, "--storage", str(used[1]))
        assert code == 2
        assert f"runs/small/{file}" in err
        assert "nothing was removed" in err
    assert files_below(used[1]) == before


def test_a_damaged_last_checkpoint_of_a_run_is_named_and_neither_moved_nor_are_earlier_epochs_removed(
    used: tuple[Recipe, Path],
) -> None:
    storage = used[1]
    result = json.loads((storage / "runs" / "small" / "result.json").read_text())
    last = result["stages"][-1]["keys"][-1]
    progress = {"name": "small", "status": "interrupted", "key": last, "when": 9.0, "started": 1.0, "epochs_reached": 6}
    progress |= {"datasets": result["datasets"], "epochs_requested": 6}
    (storage / "runs" / "small" / "result.json").unlink()
    (storage / "runs" / "small" / "run.json").unlink()
    (storage / "runs" / "small" / "progress.json").write_text(json.dumps(progress))
    file = storage / "checkpoints" / last / "facts.json"
    file.write_bytes(file.read_bytes().replace(b"sha256", b"sha257", 1))
    before = files_below(storage)
    for words in ((), ("--dry-run",)):
        code, _, err = invoke("clean", *words, "--storage", str(storage))
        assert code == 2
        assert last in err
    assert files_below(storage) == before


def test_foreign_files_are_kept_and_interrupted_writes_are_removed(used: tuple[Recipe, Path]) -> None:
    storage = used[1]
    ours = ["prepared/.preparing-0123456789ab/a.arrow", f"prepared/{'0' * 32}/values-00000.arrow"]  # without a manifest
    ours += ["runs/small/.progress.json-0123abcd", "evaluations/x/.a.json-0123abcd", "checkpoints/.k-0123abcd/facts.json"]
    others = ["prepared/my_thesis/text.txt", "damaged/photos/cat.jpg", "checkpoints/mine/weights.bin", "trash/notes/a.txt"]
    for path in [*ours, *others, "damaged/x-0123abcd/why.txt", "trash/k-0123abcd/facts.json"]:
        (storage / path).parent.mkdir(parents=True, exist_ok=True)
        (storage / path).write_text("x")
    clean(Store(str(storage)), dry_run=False)
    assert [(storage / path).exists() for path in others] == [True] * len(others)
    assert [(storage / path).exists() for path in ours] == [False] * len(ours)
    assert not (storage / "damaged" / "x-0123abcd").exists()
    assert not (storage / "trash" / "k-0123abcd").exists()


def test_a_clean_that_is_killed_anywhere_leaves_a_store_that_works_and_the_next_one_ends_its_work(
    trained: tuple[Recipe, Path], tmp_path: Path
) -> None:
    recipe, call_number, ended = trained[0], 0, False
    whole = {leftover.path for leftover in find_leftovers(Store(str(trained[1])))}
    while not ended:
        storage = tmp_path / str(call_number)
        shutil.copytree(trained[1], storage, copy_function=shutil.copy2)
        killed: Interrupted = stopped_at(local(storage), call_number, "killed")
        store = Store(killed.storage)
        try:
            clean(store, dry_run=False)
            ended = True
        except StoppedError:
            shutil.rmtree(storage / "leases", ignore_errors=True)  # as its process is dead
        clean(Store(str(storage)), dry_run=False)
        assert find_leftovers(Store(str(storage))) == []
        assert not {path for path in whole if (storage / path).exists()}
        if call_number % 10 == 0 or ended:
            _, run = train_in_process(recipe, storage)
            assert run.result is not None
            assert run.result.epochs_trained == 0
        shutil.rmtree(storage)
        call_number += 7
    assert call_number > 14
