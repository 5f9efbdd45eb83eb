"""Stored recipes name the defaults that decide numbers, and older ones keep the defaults of their time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from helpers import train_in_process
from small import small_document, write_small

from workflows.recipe.datasets import movable
from workflows.recipe.defaults import BEFORE, with_old_defaults
from workflows.recipe.recipe import Recipe, check_recipe, load_recipe
from workflows.results.evaluation import evaluate
from workflows.results.trained import open_run
from workflows.store.run_record import RECIPE


def test_a_stored_recipe_names_its_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write_small(tmp_path))
    stored = movable(recipe)
    assert (stored["model"]["head"], stored["training"]["handover"]) == ("dataset", "average")
    assert with_old_defaults(stored) == stored
    again = check_recipe(stored, tmp_path)
    assert (again.model.dataset_heads, again.training.hands_over) == (True, "average")
    assert again.retention == recipe.retention
    classes = movable(check_recipe(small_document(model={"loss": "mse", "head": "shared"}), tmp_path))
    assert classes["model"]["head"] == "shared"
    assert (
        movable(check_recipe(small_document(training={"schedule": "one_cycle"}), tmp_path))["training"]["handover"] == "last"
    )


def test_an_older_stored_recipe_keeps_its_defaults() -> None:
    document = {"training": {"epochs": 3}, "retention": {"method": "replay", "memory": 7}, "model": {"hidden_size": 3}}
    completed = with_old_defaults(document)
    assert completed["model"] == {"hidden_size": 3, **BEFORE["model"]}
    assert completed["training"] == {"epochs": 3, "handover": "last", "decay_rate": 0.8}
    assert completed["retention"] == {"method": "replay", "memory": 7, "share": 0.4}
    assert document == {
        "training": {"epochs": 3},
        "retention": {"method": "replay", "memory": 7},
        "model": {"hidden_size": 3},
    }


def test_a_recipe_from_before_classes_could_be_added_has_all_classes() -> None:
    completed = with_old_defaults({"model": {"head": "dataset"}, "retention": {"method": "replay"}})
    assert completed["model"] == {"head": "dataset", "classes": "all"}
    assert completed["retention"] == {"method": "replay"}


def test_the_rate_is_constant_with_replay_and_decays_otherwise_by_default(tmp_path: Path) -> None:
    def recipe_of(**sections: Any) -> Recipe:
        return check_recipe(small_document(**sections), tmp_path)

    replay = recipe_of(retention={"method": "replay"})
    assert (replay.training.decay_rate, recipe_of(retention={"method": "replay+distill"}).training.decay_rate) == (1.0, 1.0)
    assert (recipe_of().training.decay_rate, recipe_of(retention={"method": "ewc"}).training.decay_rate) == (0.8, 0.8)
    assert recipe_of(retention={"method": "replay"}, training={"decay_rate": 0.8}).training.decay_rate == 0.8
    stored = movable(replay)
    assert stored["training"]["decay_rate"] == 1.0
    assert check_recipe(stored, tmp_path).training.decay_rate == 1.0
    # A recipe from the time when 0.8 was the default of every method.
    del stored["training"]["decay_rate"]
    assert check_recipe(with_old_defaults(stored), tmp_path).training.decay_rate == 0.8


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_older_run_is_opened_at_its_state(tmp_path: Path) -> None:
    path = write_small(tmp_path, model={"head": "shared"}, training={"handover": "last", "epochs": 1})
    store, run = train_in_process(load_recipe(path), tmp_path / "runs")
    document = dict(movable(load_recipe(path)))
    for section, keys in BEFORE.items():
        document[section] = {key: value for key, value in document[section].items() if key not in keys}
    store.storage.remove("runs/small/run.json")
    store.write_run("small", RECIPE, tomli_w.dumps(document).encode())
    opened = open_run(store, "small")
    assert opened.plan.root == run.plan.root
    assert [epoch.key for epoch in opened.plan.straight_on()][-1] == opened.key
    assert evaluate(store, opened, "test").to_json()["measured_now"] == 0
