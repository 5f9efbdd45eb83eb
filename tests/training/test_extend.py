"""Extending a run with new data: only the new dataset's epochs are trained, and no earlier file is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import invoke
from small import MACHINES, write_small

from data.errors import InputError
from workflows import train as train_arrays
from workflows.recipe.recipe import load_recipe
from workflows.results.trained import open_run
from workflows.store.store import Store
from workflows.training.compare import compare
from workflows.training.extend import extend
from workflows.training.run import train

IN_PROCESS = {"compute": {"num_workers": 0}}


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "runs")
    return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


def recipes(folder: Path, **sections: Any) -> tuple[Any, Any]:
    """Return the recipe of two machines and that of all three."""
    path = write_small(folder, **{**IN_PROCESS, **sections})
    whole = load_recipe(path)
    two = [{"name": name, "path": f"{name}.csv"} for name in MACHINES[:2]]
    return load_recipe(write_small(folder, **{**IN_PROCESS, **sections, "datasets": two})), whole


@pytest.mark.parametrize("sections", [{}, {"retention": {"method": "replay"}}, {"training": {"handover": "best"}}])
def test_an_extended_run_equals_the_run_that_had_all_datasets_from_the_start(
    sections: dict[str, Any], storage: str, tmp_path: Path
) -> None:
    two, whole = recipes(tmp_path, **sections)
    expected = train(whole, tmp_path / "whole")
    train(two, storage)
    for name in MACHINES[:2]:
        (tmp_path / f"{name}.csv").unlink()
    result = extend(storage, "small", MACHINES[2], str(tmp_path / f"{MACHINES[2]}.csv"))
    assert result.epochs_trained == 2
    for what in ("key", "stages", "error_matrix", "test", "datasets", "mean_scaled_error", "forgetting"):
        assert getattr(result, what) == getattr(expected, what)
    opened = open_run(Store(storage), "small")
    assert [each.name for each in opened.datasets] == list(MACHINES)
    again = train(opened.recipe, storage)  # the stored recipe, without the earlier files
    assert (again.epochs_trained, again.key) == (0, expected.key)
    assert [f"dataset {name!r}: its files are gone; using its prepared rows" for name in MACHINES[:2]] == [
        each for each in again.warnings if "gone" in each
    ]


def test_the_new_dataset_has_its_own_epochs_and_a_rate_that_may_be_higher(tmp_path: Path) -> None:
    two, _ = recipes(tmp_path, training={"decay_rate": 0.5, "epochs": 2, "learning_rate": 0.01, "batch_size": 32})
    train(two, tmp_path / "runs")
    path = str(tmp_path / f"{MACHINES[2]}.csv")
    result = extend(str(tmp_path / "runs"), "small", MACHINES[2], path, epochs=3, learning_rate=0.02)
    assert result.epochs_trained == 3
    assert [stage.learning_rate for stage in result.stages] == pytest.approx([0.01, 0.005, 0.02])
    assert open_run(Store(str(tmp_path / "runs")), "small").recipe.training.decay_rate == pytest.approx([0.5, 4.0])
    # Extend again, from the list of rates that the run has now.
    more = extend(str(tmp_path / "runs"), "small", "again", path)
    assert more.epochs_trained == 2
    assert more.stages[3].learning_rate == pytest.approx(0.08)


def test_a_run_of_one_dataset_is_extended_without_training_it_again(tmp_path: Path) -> None:
    one = [{"name": MACHINES[0], "path": f"{MACHINES[0]}.csv"}]
    train(load_recipe(write_small(tmp_path, **IN_PROCESS, datasets=one)), tmp_path / "runs")
    result = extend(str(tmp_path / "runs"), "small", MACHINES[1], str(tmp_path / f"{MACHINES[1]}.csv"))
    assert result.epochs_trained == 2


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    two, _ = recipes(tmp_path)
    runs, path = str(tmp_path / "runs"), str(tmp_path / f"{MACHINES[2]}.csv")
    train(two, runs)
    before = {file: file.read_bytes() for file in (tmp_path / "runs" / "runs").rglob("*") if file.is_file()}
    with pytest.raises(InputError, match="run 'small' has a dataset of this name: write another"):
        extend(runs, "small", MACHINES[0], path)
    with pytest.raises(InputError, match="there is no such file"):
        extend(runs, "small", "new", str(tmp_path / "nowhere.csv"))
    with pytest.raises(InputError, match="--learning-rate -1: write a number above 0"):
        extend(runs, "small", "new", path, learning_rate=-1)
    with pytest.raises(InputError, match="--set changes training of run 'small'"):
        extend(runs, "small", "new", path, overrides=["training.batch_size=8"])
    with pytest.raises(InputError, match="nothing: no such run"):
        extend(runs, "nothing", "new", path)
    assert {file: file.read_bytes() for file in (tmp_path / "runs" / "runs").rglob("*") if file.is_file()} == before


def test_the_command_extends_a_run(tmp_path: Path) -> None:
    two, _ = recipes(tmp_path)
    train(two, tmp_path / "runs")
    storage = ["--storage", str(tmp_path / "runs")]
    path = str(tmp_path / f"{MACHINES[2]}.csv")
    code, _, complaints = invoke("extend", "small", "--path", path, "--dataset", "crane", "--epochs", "1", *storage)
    assert (code, complaints) == (0, "")
    result = json.loads((tmp_path / "runs" / "runs" / "small" / "result.json").read_text())
    assert (result["datasets"], result["epochs_trained"]) == (list(MACHINES), 1)
    assert invoke("extend", "small", "--path", path, "--dataset", "crane", *storage)[0] == 2


@pytest.mark.parametrize("classes", [False, True])
def test_a_result_is_extended_with_arrays(classes: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pairs = {}
    for name in "abc":
        inputs = random.normal(size=(30, 5, 2))
        means = inputs[:, :, :1].mean(axis=1)
        pairs[name] = (inputs, (means[:, 0] > 0).astype(int) if classes else means)
    keys: dict[str, Any] = {"epochs": 2, "hidden_size": 4, "loss": "cross_entropy" if classes else "mse", "method": "replay"}
    whole = train_arrays(pairs, storage=tmp_path / "whole", **keys)
    first = train_arrays({name: pairs[name] for name in "ab"}, storage=tmp_path / "runs", **keys)
    extended = first.extend(pairs["c"], "c")
    assert (extended.key, extended.document["epochs_trained"]) == (whole.key, 2)
    np.testing.assert_array_equal(extended.predict(pairs["c"][0], "c"), whole.predict(pairs["c"][0], "c"))
    assert list(first.train_loss) == ["a", "b"]
    longer = extended.extend(pairs["a"], epochs=3, learning_rate=0.01)
    assert longer.document["stages"][-1]["dataset"] == "dataset_4"
    assert longer.document["epochs_trained"] == 3
    with pytest.raises(InputError, match="write a frame, \\(X, y\\), or the path of a file"):
        extended.extend(pairs["a"][0], "d")


@pytest.mark.filterwarnings("ignore:dataset 'c' adds the classes below")
@pytest.mark.parametrize(
    ("head", "where"),
    [("shared", "folder"), pytest.param("dataset", "bucket", marks=pytest.mark.long)],
)
def test_a_run_is_extended_with_a_new_class(head: str, where: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    storage = str(tmp_path / "runs") if where == "folder" else f"{request.getfixturevalue('bucket')}/new_class"
    random = np.random.default_rng(0)
    pairs = {}
    for number, name in enumerate("abc"):
        inputs = random.normal(size=(40, 5, 2))
        means = inputs[:, :, 0].mean(axis=1)
        pairs[name] = (inputs, np.where(means > 0, "high", "low" if number < 2 else "below"))
    model = {"loss": "cross_entropy", "hidden_size": 8, "head": head}
    keys: dict[str, Any] = {**model, "epochs": 12, "method": "replay", "learning_rate": 0.02}
    whole = train_arrays(pairs, storage=tmp_path / "whole", **keys)
    first = train_arrays({name: pairs[name] for name in "ab"}, storage=storage, **keys)
    extended = first.extend(pairs["c"], "c")
    assert (extended.key, extended.document["epochs_trained"]) == (whole.key, 12)
    for name in "abc":
        np.testing.assert_array_equal(extended.predict(pairs[name][0], name), whole.predict(pairs[name][0], name))
    assert "below" in extended.predict(pairs["c"][0], "c")
    assert any("dataset 'c' adds the classes below: the model has 3" in each for each in extended.document["warnings"])
    compared = compare(storage, extended.name)
    assert compared.epochs["joint"] == 12
    state = Store(storage).load(compared.keys["joint"][0]).model
    assert len(state["head.bias"]) == 3  # joint training has all classes from the start
    old = train_arrays({name: pairs[name] for name in "ab"}, storage=storage, name="old", classes="all", **keys)
    with pytest.raises(InputError, match="classes below, which the run does not have, and its recipe has"):
        old.extend(pairs["c"], "c")


def test_training_goes_on_where_a_file_is_gone_and_others_are_added(tmp_path: Path) -> None:
    """Repeat cases/training/source_gone: the same command, and one with an appended dataset."""
    two, whole = recipes(tmp_path)
    first = train(two, tmp_path / "runs")
    (tmp_path / f"{MACHINES[0]}.csv").unlink()
    assert train(two, tmp_path / "runs").key == first.key
    result = train(whole, tmp_path / "runs")
    assert result.epochs_trained == 2
    assert [each for each in result.warnings if "gone" in each] == [
        f"dataset {MACHINES[0]!r}: its files are gone; using its prepared rows"
    ]
    with pytest.raises(InputError, match="there is no such file"):  # the name of a run that was not trained on it
        train(whole, tmp_path / "runs", "other")
    changed, _ = recipes(tmp_path, data={"lookback": 6})
    (tmp_path / f"{MACHINES[0]}.csv").unlink()
    with pytest.raises(InputError, match="there is no such file"):  # it was prepared with other settings
        train(changed, tmp_path / "runs")


def test_rates_above_one_are_for_lists_alone(tmp_path: Path) -> None:
    write_small(tmp_path)
    assert load_recipe(write_small(tmp_path, training={"decay_rate": [0.5, 2.0]})).training.decay_rate == [0.5, 2.0]
    with pytest.raises(InputError, match="decay_rate = 2"):
        load_recipe(write_small(tmp_path, training={"decay_rate": 2.0}))
