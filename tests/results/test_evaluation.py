"""`evaluate` on a run's final state, against result.json, pandas and scikit-learn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import invoke
from helpers import train_in_process
from sites import Opened, train_sites
from sklearn.metrics import accuracy_score

from data.errors import InputError
from workflows.recipe.recipe import check_recipe
from workflows.results.evaluation import chosen_split, evaluate
from workflows.results.forecast_file import predict_files
from workflows.results.prediction import make_forecaster
from workflows.results.rollback import roll_back
from workflows.results.run_progress import RunProgress
from workflows.results.search_result import SearchResult
from workflows.results.trained import open_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return train_sites(tmp_path_factory.mktemp("sites"))


def test_errors_are_those_of_the_run_and_nothing_is_measured_again(sites: Opened) -> None:
    store, run, _ = sites
    result = store.result("sites", dict)
    assert result is not None
    test, validation = evaluate(store, run, "test").to_json(), evaluate(store, run, "validation").to_json()
    assert test["measured_now"] == validation["measured_now"] == 0
    for column, name in enumerate(result["datasets"]):
        of_run, evaluated = result["test"][name], test["datasets"][name]
        for key in ("samples", "error", "naive_error", "scaled_error", "mse", "mae"):
            assert evaluated[key] == of_run[key]
        assert list(evaluated["mae_units"].values()) == of_run["mae_units"]
        assert validation["datasets"][name]["error"] == result["error_matrix"]["validation"][-1][column]
    assert validation["mean_scaled_error"] == result["mean_scaled_error"]


def test_stored_evaluations_are_shown_without_torch_and_ray(sites: Opened) -> None:
    code = (
        "import sys; from workflows.cli.commands import app; "
        f"app(['evaluate', 'sites', '--storage', {str(sites[2] / 'runs')!r}, '--json', '-'], standalone_mode=False); "
        "print([name for name in ('torch', 'ray') if name in sys.modules], file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stderr.strip() == "[]"
    assert json.loads(process.stdout)["split"] == "test"


def test_naive_errors_are_those_of_repeating_the_last_value(tmp_path: Path) -> None:
    settings = {"features": ["power"], "targets": ["power"], "missing_flags": False, "categorical": [], "calendar": []}
    store, run, _ = train_sites(tmp_path, data={**settings, "min_lookback": 8})
    gaps = []
    for _, rows in pd.read_csv(tmp_path / "b.csv", parse_dates=["time"]).groupby("pump"):
        power = rows.set_index("time")["power"].asfreq("h").astype(np.float32).astype(float)
        known, first = power.ffill(), int(len(power) * 0.8 + 1e-9)
        for end in range(first - 1, len(power) - 3):
            ahead = power.iloc[end + 1 : end + 4]
            gaps += [ahead.to_numpy() - known.iloc[end]] if ahead.notna().all() else []
    errors = evaluate(store, run, "test").to_json()["datasets"]["b"]
    assert errors["samples"] == len(gaps)
    np.testing.assert_allclose(errors["naive_mae_units"]["power"], np.abs(gaps).mean(), rtol=1e-6)
    np.testing.assert_allclose(errors["naive_rmse_units"]["power"], (np.array(gaps) ** 2).mean() ** 0.5, rtol=1e-6)


def test_a_state_that_was_not_measured_is_measured_once_and_kept(tmp_path: Path) -> None:
    store, _, _ = train_sites(tmp_path)
    roll_back(store, "sites", "a")
    run = open_run(store, "sites")
    first = evaluate(store, run, "test").to_json()
    assert first["measured_now"] == 2
    for index, dataset in enumerate(run.datasets):
        batch = dataset.batch("test", np.arange(dataset.num_samples("test")))
        scale, center = (np.array(getattr(dataset.encoding, what)[-2:]) for what in ("scale", "center"))
        gap = make_forecaster(store, run, index).forecast(batch).point - (batch.targets * scale + center)
        errors = first["datasets"][dataset.name]
        np.testing.assert_allclose(list(errors["mae_units"].values()), np.abs(gap).mean(axis=(0, 1)), rtol=1e-5)
        np.testing.assert_allclose(errors["error"], ((gap / scale) ** 2).mean(), rtol=1e-5)
    assert evaluate(store, run, "test").to_json() == {**first, "measured_now": 0}


def test_the_split_is_test_where_there_is_one_else_validation(tmp_path: Path, sites: Opened) -> None:
    assert chosen_split(sites[1], None) == "test"
    assert chosen_split(sites[1], "validation") == "validation"
    _, run, _ = train_sites(tmp_path, data={"split": [0.8, 0.2, 0.0]})
    assert chosen_split(run, None) == "validation"
    with pytest.raises(InputError, match="--split test: no dataset of run 'sites' has such samples"):
        chosen_split(run, "test")
    (tmp_path / "blind").mkdir()
    _, run, _ = train_sites(tmp_path / "blind", data={"split": [1.0, 0.0, 0.0]})
    with pytest.raises(InputError, match="no dataset has validation or test samples"):
        chosen_split(run, None)


def test_the_command_prints_tables_or_json(sites: Opened, tmp_path: Path) -> None:
    storage = ["--storage", str(sites[2] / "runs")]
    code, out, _ = invoke("evaluate", "sites", "--split", "validation", "--json", str(tmp_path / "errors.json"), *storage)
    assert code == 0
    for word in (
        "validation error (MSE, scaled units)",
        "error / naive",
        "in the targets' own units",
        "power",
        "flow",
        "RMSE",
    ):
        assert word in out
    assert json.loads((tmp_path / "errors.json").read_text()) == evaluate(sites[0], sites[1], "validation").to_json()
    assert json.loads(invoke("evaluate", "sites", "--json", "-", *storage)[1])["split"] == "test"
    for words, message in [
        (["sites", "--split", "train"], "--split train: write one of validation, test"),
        (["sites", "--json", str(tmp_path / "nowhere" / "x.json")], "there is no folder"),
        (["sitse"], "did you mean 'sites'?"),
    ]:
        code, out, err = invoke("evaluate", *words, *storage)
        assert code == 2
        assert message in err


def test_a_search_and_an_unfinished_run_are_refused(sites: Opened, tmp_path: Path) -> None:
    store = type(sites[0])(str(tmp_path))
    search = SearchResult("tried", "finished", 1.0, "grid", "none", (), (), None, (), None, (), 0, 0, 0, None, 0.0)
    progress = RunProgress("going", "interrupted", "k", (), 1, 1.0)
    store.write_run("tried", "search.json", json.dumps(search.to_json()).encode())
    store.write_run("going", "progress.json", json.dumps(progress.to_json()).encode())
    for name, message in (("tried", "this is a search: train its best"), ("going", r"has not ended \(interrupted\)")):
        with pytest.raises(InputError, match=message):
            open_run(store, name)


def test_a_damaged_state_ends_with_1_and_a_message(tmp_path: Path) -> None:
    store, _, _ = train_sites(tmp_path)
    roll_back(store, "sites", "a")
    key = open_run(store, "sites").key
    (tmp_path / "runs" / "checkpoints" / key / "model.safetensors").write_bytes(b"nothing")
    code, _, err = invoke("evaluate", "sites", "--storage", str(tmp_path / "runs"))
    assert code == 1
    assert "train it again" in err
    assert "Traceback" not in err


def test_classes_and_labels_at_the_last_row_are_evaluated_and_predicted_as_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = []
    for number in range(60):
        kind = ("dull", "sharp")[number % 2]
        steps = random.integers(4, 9)
        values = random.normal(1.5 * (number % 2), 1.0, steps)
        frames.append(pd.DataFrame({"take": f"t{number:02d}", "step": range(steps), "x": values, "kind": kind}))
    frame = pd.concat(frames)
    frame.to_csv(tmp_path / "takes.csv", index=False)
    data = {"time": "step", "series": "take", "features": ["x"], "targets": ["kind"], "lookback": "all", "horizon": 0}
    document = {
        "name": "kinds",
        "data": {**data, "split_by": "series", "split": [0.5, 0.0, 0.5]},
        "datasets": [{"name": "takes", "path": "takes.csv"}],
        "model": {"hidden_size": 4, "loss": "cross_entropy"},
        "training": {"epochs": 8, "batch_size": 8, "learning_rate": 0.03},
        "compute": {"num_workers": 0},
    }
    store, run = train_in_process(check_recipe(document, tmp_path), tmp_path / "runs")
    errors = evaluate(store, run, "test").to_json()["datasets"]["takes"]
    frame.drop(columns="kind").to_csv(tmp_path / "new.csv", index=False)
    predict_files(store, run, None, str(tmp_path / "new.csv"), str(tmp_path / "out.csv"), False)
    forecasts = pd.read_csv(tmp_path / "out.csv").set_index("series")
    assert list(forecasts.columns) == ["cutoff", "step", "time", "kind"]
    assert set(forecasts["step"]) == {0}
    assert (forecasts["time"] == forecasts["cutoff"]).all()
    assert (forecasts["time"] == frame.groupby("take")["step"].max()).all()
    dataset = run.datasets[0]
    truth = frame.groupby("take")["kind"].last()
    test = _names_of_test_samples(run, truth.index)
    assert errors["samples"] == len(test) == 30
    assert errors["accuracy"] == pytest.approx(accuracy_score(truth[test], forecasts.loc[test, "kind"]))
    assert errors["naive_accuracy"] <= 0.5 < errors["accuracy"] < 1
    assert dataset.encoding.classes == ["dull", "sharp"]
    assert "accuracy" in invoke("evaluate", "kinds", "--storage", str(tmp_path / "runs"))[1]


def _names_of_test_samples(run: object, names: pd.Index) -> list[str]:
    from data.samples.splits import split_by_series

    dealt = split_by_series(list(names), [0.5, 0.0, 0.5])
    return [name for name in names if dealt[name] == "test"]


def test_short_histories_with_horizon_0_are_measured_as_they_are_predicted(tmp_path: Path) -> None:
    changes = {"features": ["flow"], "targets": ["power"], "horizon": 0, "min_lookback": 1, "lookback": 6}
    store, run, _ = train_sites(tmp_path, data={**changes, "missing_flags": False})
    predict_files(store, run, "a", str(tmp_path / "a.csv"), str(tmp_path / "out.csv"), True)
    forecasts = pd.read_csv(tmp_path / "out.csv", parse_dates=["time"]).set_index(["series", "time"])
    gaps = []
    for name, rows in pd.read_csv(tmp_path / "a.csv", parse_dates=["time"]).groupby("pump"):
        power = rows.set_index("time")["power"].asfreq("h")
        assert len(forecasts.loc[name]) == len(power)
        late = power.iloc[int(len(power) * 0.8 + 1e-9) :].dropna()
        gaps += list((forecasts.loc[name]["power"].loc[late.index] - late).abs())
    errors = evaluate(store, run, "test").to_json()["datasets"]["a"]
    assert errors["samples"] == len(gaps)
    np.testing.assert_allclose(errors["mae_units"]["power"], np.mean(gaps), rtol=1e-6)
