"""Comparison of a run with joint and separate training, which share its code, store and model."""

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
from workflows.fit.joint import Joint
from workflows.recipe.recipe import load_recipe
from workflows.relay.comparison import gradient_samples, joint_plan
from workflows.relay.lookup import finished
from workflows.report.report import make_report
from workflows.results.clean import clean
from workflows.results.comparison import read_comparison
from workflows.results.trained import open_run
from workflows.store.store import Store
from workflows.training.compare import compare
from workflows.training.run import train

IN_PROCESS: dict[str, Any] = {"compute": {"num_workers": 0}, "retention": {"method": "replay"}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    train(load_recipe(write_small(folder, **IN_PROCESS)), folder / "runs")
    return folder


def test_each_column_is_what_training_it_gives(home: Path) -> None:
    comparison = compare(home / "runs", "small")
    assert comparison.epochs == {"sequence": 6, "joint": 2, "separate": 6}
    assert comparison.epochs_trained == 8 - 2  # the first dataset alone is the first stage of the sequence
    assert compare(home / "runs", "small").epochs_trained == 0
    store = Store(str(home / "runs"))
    run = open_run(store, "small")
    assert run.result is not None
    for number, name in enumerate(MACHINES):
        entry = {"name": name, "path": f"{name}.csv"}
        alone = train(load_recipe(write_small(home, **IN_PROCESS, datasets=[entry])), home / "runs", f"only-{name}")
        assert alone.epochs_trained == 0
        assert comparison.datasets[name].separate == alone.test[name].scaled_error
        assert comparison.datasets[name].sequence == run.result.test[name].scaled_error
        assert comparison.keys["separate"][number] == alone.key
    assert comparison.mean.joint == pytest.approx(np.mean([each.joint for each in comparison.datasets.values()]))
    assert comparison.mean.naive == 1.0
    assert comparison.mean.seasonal_naive is None  # whole numbers as times: no season is known
    assert read_comparison(store, "small") is not None
    content = json.loads((home / "runs" / "runs" / "small" / "compare.json").read_text())
    assert set(content["datasets"]["anvil"]) == {"sequence", "joint", "separate", "naive", "seasonal_naive"}
    samples = sum(dataset.num_samples("train") for dataset in run.datasets)
    assert comparison.samples["joint"] == comparison.samples["separate"] == 2 * samples
    # 0.3 replayed samples for each new one in two of three stages
    assert 1.15 < comparison.samples["sequence"] / (2 * samples) < 1.25


def test_joint_training_is_all_samples_shuffled_together(home: Path) -> None:
    store = Store(str(home / "runs"))
    run = open_run(store, "small")
    joint = Joint(run.datasets)
    counts = [dataset.num_samples("train") for dataset in run.datasets]
    assert joint.num_samples("train") == sum(counts)
    samples = np.random.default_rng(0).permutation(sum(counts))[:50]
    batch, owners = joint.batch("train", samples), joint.owners("train")(samples)
    for row, (sample, owner) in enumerate(zip(samples, owners, strict=True)):
        separate = run.datasets[owner].batch("train", np.array([sample - sum(counts[:owner])]))
        np.testing.assert_array_equal(batch.inputs[row], separate.inputs[0])
        np.testing.assert_array_equal(batch.targets[row], separate.targets[0])
    compare(home / "runs", "small")
    plan = joint_plan(run.plan)
    done = finished(plan, store)
    assert done.stages[0].epochs[0].samples == sum(counts)
    assert gradient_samples(plan, done) == 2 * sum(counts)
    state = store.load(done.key).model
    assert {name for name in state if name.startswith("corrections.")} == {
        f"corrections.{number}.{what}" for number in range(3) for what in ("weight", "bias")
    }


@pytest.mark.parametrize(
    "keys", [{"handover": "best"}, {"patience": 1}, {"schedule": "plateau"}], ids=["best", "patience", "plateau"]
)
def test_joint_training_watches_the_validation_split_of_all_datasets(keys: dict[str, Any], tmp_path: Path) -> None:
    train(load_recipe(write_small(tmp_path, compute={"num_workers": 0}, training={**keys, "epochs": 3})), tmp_path / "runs")
    comparison = compare(tmp_path / "runs", "small")
    assert all(each.joint is not None for each in comparison.datasets.values())


def test_classes_without_test_samples_are_compared_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pairs = {name: (random.normal(size=(20, 4, 2)), random.integers(0, 2, 20)) for name in "ab"}
    train_arrays(pairs, storage=tmp_path, loss="cross_entropy", epochs=1, hidden_size=4, name="classes")
    comparison = compare(tmp_path, "classes")
    assert comparison.datasets["a"].joint is None
    assert comparison.mean.joint is None
    assert comparison.epochs_trained == 2


def test_the_comparison_has_the_seasonal_naive_forecast(tmp_path: Path) -> None:
    """Compare with NumPy: the error of the value one season earlier, divided by that of the last value."""
    path = write_small(tmp_path, compute={"num_workers": 0}, data={"season": 12}, training={"epochs": 1})
    train(load_recipe(path), tmp_path / "runs")
    comparison = compare(tmp_path / "runs", "small")
    for name in MACHINES:
        load = np.loadtxt(tmp_path / f"{name}.csv", delimiter=",", skiprows=1)[:, 1]
        ends = np.arange(int(0.8 * len(load)) - 1, len(load) - 3)  # the last input row of each test sample
        ahead = ends[:, None] + np.arange(1, 4)
        seasonal, last = ((load[ahead] - load[before]) ** 2 for before in (ahead - 12, ends[:, None]))
        assert comparison.datasets[name].seasonal_naive == pytest.approx(seasonal.mean() / last.mean(), rel=1e-4)
    seasonal_errors = [errors.seasonal_naive for errors in comparison.datasets.values()]
    assert comparison.mean.seasonal_naive == pytest.approx(np.mean(seasonal_errors))
    page = make_report(Store(str(tmp_path / "runs")), "small")
    assert f"{comparison.mean.seasonal_naive:.3f}" in page
    shown = invoke("compare", "small", "--storage", str(tmp_path / "runs"))[1]
    assert f"{comparison.mean.seasonal_naive:.3f}" in shown


def test_the_report_shows_a_comparison_and_clean_keeps_it(home: Path) -> None:
    store = Store(str(home / "runs"))
    comparison = compare(home / "runs", "small")
    page = make_report(store, "small")
    assert "Compared with joint and separate training" in page
    assert f"joint {comparison.samples['joint']:,}" in page
    for run in store.storage.names("runs"):
        if run != "small":
            store.storage.remove(f"runs/{run}")
    clean(store, dry_run=False)
    kept = set(store.storage.names("checkpoints"))
    for key in (key for keys in comparison.keys.values() for key in keys):
        assert store.load(key).model  # the whole state and its evaluations are kept
        assert store.evaluations(key)
    assert compare(home / "runs", "small").epochs_trained == 0
    assert set(store.storage.names("checkpoints")) == kept


def test_clean_removes_what_only_a_comparison_needed_once_it_is_gone(tmp_path: Path) -> None:
    train(load_recipe(write_small(tmp_path, **IN_PROCESS, rows=120, training={"epochs": 1})), tmp_path / "runs")
    store = Store(str(tmp_path / "runs"))
    before = set(store.storage.names("checkpoints"))
    comparison = compare(tmp_path / "runs", "small")
    made = set(store.storage.names("checkpoints")) - before
    assert {*comparison.keys["joint"], *comparison.keys["separate"][1:]} <= made
    assert clean(store, dry_run=True) == []
    store.storage.remove("runs/small/compare.json")
    assert {each.path for each in clean(store, dry_run=False)} >= {f"checkpoints/{key}" for key in made}
    assert set(store.storage.names("checkpoints")) == before
    assert open_run(store, "small").key in before


def test_the_command_shows_the_comparison_and_refuses_an_unknown_run(home: Path) -> None:
    code, shown, _ = invoke("compare", "small", "--storage", str(home / "runs"))
    assert code == 0
    for word in (*MACHINES, "joint", "separate", "gradient samples", "mean"):
        assert word in shown
    assert invoke("compare", "nothing", "--storage", str(home / "runs"))[0] == 2
    with pytest.raises(InputError, match="nothing: no such run"):
        compare(home / "runs", "nothing")
