"""The same epoch at different positions of two runs: each run shows its own dataset names (cases/training/places)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from helpers import train_in_process
from small import small_document, write_machine

from workflows.recipe.recipe import Recipe, check_recipe

SAME = {"shuffle": False, "decay_rate": 1.0, "batch_size": 32, "learning_rate": 0.01, "handover": "last"}


def recipe_of(folder: Path, name: str, datasets: dict[str, int]) -> Recipe:
    """Return a recipe with the same file for all datasets, so that the epochs do not depend on where a dataset ends."""
    entries: list[dict[str, Any]] = [
        {"name": each, "path": "anvil.csv", "epochs": epochs} for each, epochs in datasets.items()
    ]
    return check_recipe(small_document(name=name, datasets=entries, training=SAME, model={"head": "shared"}), folder)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"january": 2, "january_again": 2}, {"january": 4}),
        ({"january": 4}, {"january": 1, "february": 1, "march": 2}),
        ({"january": 2, "february": 1}, {"old": 2, "new": 1}),
        ({"january": 3}, {"january": 2}),
    ],
)
def test_epochs_of_another_run_are_shown_with_the_position_and_name_in_this_run(
    first: dict[str, int], second: dict[str, int], tmp_path: Path
) -> None:
    write_machine(tmp_path / "anvil.csv", 0, 120)
    train_in_process(recipe_of(tmp_path, "first", first), tmp_path / "runs")
    _, run = train_in_process(recipe_of(tmp_path, "second", second), tmp_path / "runs")
    assert run.result is not None
    assert run.result.epochs_trained == 0
    assert [(stage.dataset, stage.epochs) for stage in run.result.stages] == list(second.items())
    storage = ("--storage", str(tmp_path / "runs"))
    for name, datasets in (("first", first), ("second", second)):
        rows = [line.split() for line in invoke("log", name, *storage)[1].splitlines()]
        assert [tuple(row[:2]) for row in rows if row and row[0] in datasets] == [
            (each, str(number + 1)) for each, epochs in datasets.items() for number in range(epochs)
        ]
        assert invoke("report", name, *storage)[0] == 0
