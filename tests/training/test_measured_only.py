"""A dataset with train = false is evaluated after each stage and at the end, and has no influence on the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from small import MACHINES, small_document, write_machine, write_small

from data.errors import InputError
from workflows.recipe.recipe import check_recipe, load_recipe
from workflows.relay.relay import measured_after
from workflows.report.report import make_report
from workflows.results.evaluation import evaluate
from workflows.results.trained import open_run
from workflows.search.space import parameters_of
from workflows.store.store import Store
from workflows.training.compare import compare
from workflows.training.extend import extend
from workflows.training.run import train

IN_PROCESS: dict[str, Any] = {"compute": {"num_workers": 0}, "retention": {"method": "replay"}}
WATCHED = {"name": "watched", "path": "watched.csv", "train": False}


def recipe_with(folder: Path, entries: list[dict[str, Any]], **sections: Any) -> Any:
    path = write_small(folder, **{**IN_PROCESS, **sections, "datasets": entries})
    write_machine(folder / "watched.csv", 5)
    return load_recipe(path)


def trained(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "path": f"{name}.csv"} for name in names]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    train(recipe_with(folder, trained(*MACHINES[:2])), folder / "runs", "without")
    return folder


def test_it_is_measured_everywhere_and_changes_no_address_and_no_mean(home: Path) -> None:
    store = Store(str(home / "runs"))
    without = open_run(store, "without").result
    result = train(recipe_with(home, [WATCHED, *trained(*MACHINES[:2])]), home / "runs")
    assert without is not None
    assert (result.key, result.stages, result.epochs_trained) == (without.key, without.stages, 0)
    for what in ("mean_scaled_error", "forgetting", "backward_transfer", "forward_transfer"):
        assert getattr(result, what) == getattr(without, what)
    assert result.datasets == (*MACHINES[:2], "watched")
    assert result.error_matrix.after == ("untrained", *MACHINES[:2])
    assert all(row[2] is not None for row in result.error_matrix.validation)
    assert [row[:2] for row in result.error_matrix.validation] == list(without.error_matrix.validation)
    assert result.test["watched"].scaled_error is not None
    run = open_run(store, "small")
    measured = evaluate(store, run, "test")
    assert measured.to_json()["datasets"]["watched"]["error"] == result.test["watched"].error
    assert measured.mean_scaled_error == evaluate(store, open_run(store, "without"), "test").mean_scaled_error
    assert run.plan.head_of(2) is None
    assert "watched" in make_report(store, "small")


def test_the_guard_does_not_watch_it_and_few_evaluations_still_measure_it(home: Path) -> None:
    keys: dict[str, Any] = {"guard": {"tolerance": 0.0, "floor": 0.0}, "training": {"evaluations": 0}}
    result = train(recipe_with(home, [*trained(*MACHINES), WATCHED], **keys), home / "runs", "guarded")
    assert all(rise.dataset != "watched" for each in result.guard for rise in [each.attempts[0].rise] if rise)
    plan = open_run(Store(str(home / "runs")), "guarded").plan
    assert [3 in measured_after(plan, done) for done in range(4)] == [True] * 4


def test_a_run_with_it_is_extended_and_compared(home: Path) -> None:
    train(recipe_with(home, [*trained(*MACHINES[:2]), WATCHED]), home / "runs", "longer")
    extended = extend(str(home / "runs"), "longer", MACHINES[2], str(home / f"{MACHINES[2]}.csv"))
    assert extended.datasets == (*MACHINES, "watched")
    whole = train(recipe_with(home, [*trained(*MACHINES), WATCHED]), home / "runs", "whole")
    assert (whole.key, whole.epochs_trained) == (extended.key, 0)
    assert whole.test == extended.test
    compared = compare(home / "runs", "longer")
    assert list(compared.datasets) == list(MACHINES)


def test_the_command_shows_it(home: Path) -> None:
    recipe_with(home, [WATCHED, *trained(*MACHINES[:2])])
    code, shown, _ = invoke("train", str(home / "small.toml"), "--storage", str(home / "runs"), "--workers", "0")
    assert (code, "watched" in shown) == (0, True)
    shown = invoke("runs", "--storage", str(home / "runs"))[1]
    assert "2 of 3" not in shown
    file = home / "inspected.json"
    assert invoke("inspect", str(home / "small.toml"), "--storage", str(home / "runs"), "--json", str(file))[0] == 0
    inspection = json.loads(file.read_text())
    assert [each["name"] for each in inspection["datasets"]] == [*MACHINES[:2], "watched"]
    assert (inspection["order"]["names"], len(inspection["distances"])) == (list(MACHINES[:2]), 2)


def test_settings_that_contradict_train_false_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="epochs = 3 with train = false: leave one of them out"):
        check_recipe(small_document(datasets=[*trained("a"), {**WATCHED, "epochs": 3}]), tmp_path)
    with pytest.raises(InputError, match="every \\[\\[datasets\\]\\] entry has train = false"):
        check_recipe(small_document(datasets=[WATCHED]), tmp_path)
    search = {"epochs": [1, 2]}
    recipe = check_recipe(small_document(datasets=[*trained("a"), WATCHED], search=search), tmp_path)
    assert [each.name for each in parameters_of(recipe)] == ["datasets.a.epochs"]
    keys = {**search, "datasets": {"watched": {"epochs": [1, 2]}}}
    with pytest.raises(InputError, match=r"search.datasets.watched: it has train = false"):
        parameters_of(check_recipe(small_document(datasets=[*trained("a"), WATCHED], search=keys), tmp_path))
