"""A store that commit 6e35f09 wrote (three datasets, an epoch each, EWC) is opened, reported and resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import invoke
from helpers import train_in_process
from small import write_small

from workflows.recipe.recipe import Recipe, load_recipe
from workflows.store.store import Store

FIXTURE = Path(__file__).parent / "fixtures" / "store_6e35f09"
KEY = "a94411dfabd1d2bf5dd024c4cd42cd51"


@pytest.fixture
def old(tmp_path: Path) -> tuple[Recipe, Path]:
    shutil.copytree(FIXTURE, tmp_path / "runs")
    training = {"epochs": 1, "batch_size": 32, "learning_rate": 0.01, "handover": "last"}  # and one head: its defaults
    path = write_small(
        tmp_path,
        rows=120,
        model={"hidden_size": 4, "head": "shared"},
        retention={"method": "ewc", "memory": 8},
        training=training,
    )
    return load_recipe(path), tmp_path / "runs"


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_recipe_trains_nothing_and_writes_nothing_into_old_checkpoints(old: tuple[Recipe, Path]) -> None:
    recipe, storage = old
    before = files_below(storage / "checkpoints")
    result = Store(str(storage)).result("small", dict)
    assert result is not None
    store, run = train_in_process(recipe, storage)
    assert run.result is not None
    assert (run.key, run.result.epochs_trained) == (KEY, 0)
    for row, then in zip(run.result.error_matrix.validation, result["error_matrix"]["validation"], strict=True):
        assert list(row) == pytest.approx(then, rel=1e-5)  # measured again, as the loss is measured now too
    assert files_below(storage / "checkpoints") == before
    assert store.set_aside_now == []


def test_a_removed_epoch_is_retrained_to_the_same_weights_with_the_stored_importance(
    old: tuple[Recipe, Path],
) -> None:
    recipe, storage = old
    weights = (storage / "checkpoints" / KEY / "model.safetensors").read_bytes()
    shutil.rmtree(storage / "checkpoints" / KEY)
    _, run = train_in_process(recipe, storage)
    assert run.result is not None
    assert (run.key, run.result.epochs_trained) == (KEY, 1)
    assert (storage / "checkpoints" / KEY / "model.safetensors").read_bytes() == weights
    assert not (storage / "derived").exists()


def test_an_old_store_is_listed_logged_evaluated_and_reported(old: tuple[Recipe, Path]) -> None:
    storage = ("--storage", str(old[1]))
    assert "finished" in invoke("runs", *storage)[1]
    log = invoke("log", "small", *storage)[1]
    assert [name in log for name in ("anvil", "bellows", "crane", KEY[:12])] == [True] * 4
    code, out, err = invoke("evaluate", "small", *storage)
    assert (code, err) == (0, "")
    assert "crane" in out
    assert invoke("report", "small", *storage)[0] == 0
    code, out, _ = invoke("clean", "--dry-run", *storage)
    assert code == 0
    assert "checkpoints/" not in out
