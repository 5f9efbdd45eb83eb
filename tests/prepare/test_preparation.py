"""Small files are prepared in this process, without Ray, unless the run uses workers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import invoke
from data_cases import noise, source_of, write_csv
from small import write_small

import workflows.prepare.preparation as preparation
from workflows.prepare.preparation import prepares_here


def test_small_local_files_are_prepared_in_this_process_if_a_run_starts_no_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_csv(noise(50), tmp_path / "f.csv")
    assert prepares_here([source_of(file)], 0, None)
    assert not prepares_here([source_of(file)], "auto", None)
    assert not prepares_here([source_of(file)], 2, None)
    assert not prepares_here([source_of(file)], 0, "ray://head:10001")
    assert not prepares_here([source_of(["s3://bucket/f.csv"])], 0, None)
    monkeypatch.setattr(preparation, "SMALL_BYTES", file.stat().st_size)
    assert not prepares_here([source_of(file)], 0, None)


ROOT = Path(__file__).parents[2]
TRAIN_AND_LOOK = """
from pathlib import Path
import sys
from workflows.recipe.recipe import load_recipe
from workflows.training.run import train
result = train(load_recipe(Path(sys.argv[1])), sys.argv[2])
print(result.epochs_trained, "ray" in sys.modules and sys.modules["ray"].is_initialized())
"""


def test_a_small_recipe_without_workers_is_trained_without_a_cluster(tmp_path: Path) -> None:
    recipe = write_small(tmp_path, compute={"num_workers": 0})
    command = [sys.executable, "-c", TRAIN_AND_LOOK, str(recipe), str(tmp_path / "runs")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert process.stdout.split() == ["6", "False"]


def test_commands_that_train_nothing_prepare_small_data_without_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_small(tmp_path, compute={"num_workers": 2})

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("Ray is started")

    monkeypatch.setattr("workflows.prepare.preparation.connect", refuse)
    for command in ("prepare", "inspect"):
        code, out, err = invoke(command, str(recipe), "--storage", str(tmp_path / command))
        assert (code, err) == (0, "")
        assert "bellows" in out
