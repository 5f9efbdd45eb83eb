"""`predict` on files, against the run's test samples and against forecasts computed with pandas and torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke
from sites import HORIZON, LOOKBACK, Opened, predict, train_sites
from torch import nn

from workflows.results.evaluation import evaluate
from workflows.results.prediction import make_forecaster


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return train_sites(tmp_path_factory.mktemp("sites"))


def actual(path: Path, targets: list[str], where: str = "time") -> pd.DataFrame:
    """Return the targets of a file by series and time, on an hourly grid."""
    frame = pd.read_csv(path, parse_dates=[where]).set_index(where)
    return pd.concat({name: rows[targets].asfreq("h") for name, rows in frame.groupby("pump")}, names=["series", "time"])


def errors_in_units(forecasts: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Return absolute errors of the test windows that have all targets, a row for each step."""
    starts = truth.groupby("series").apply(lambda rows: rows.index.get_level_values("time")[int(len(rows) * 0.8 + 1e-9)])
    forecasts = forecasts.assign(time=pd.to_datetime(forecasts["time"]), cutoff=pd.to_datetime(forecasts["cutoff"]))
    assert (forecasts["time"] == forecasts["cutoff"] + pd.to_timedelta(forecasts["step"], unit="h")).all()
    joined = forecasts.merge(truth.reset_index(), on=["series", "time"], suffixes=("", "_true"))
    joined = joined[joined["time"] >= joined["series"].map(starts) + pd.to_timedelta(joined["step"] - 1, unit="h")]
    targets = list(truth.columns)
    whole = (
        joined.groupby(["series", "cutoff"])[[f"{name}_true" for name in targets]].transform("count").eq(HORIZON).all(axis=1)
    )
    gap = joined[whole][targets].to_numpy() - joined[whole][[f"{name}_true" for name in targets]].to_numpy()
    return pd.DataFrame(np.abs(gap), columns=targets)


@pytest.mark.parametrize("dataset", ["a", "b"])
def test_on_the_training_files_the_forecasts_are_those_of_the_test_samples(sites: Opened, dataset: str) -> None:
    store, run, folder = sites
    written = predict(sites, dataset, f"{dataset}.csv", every=True)
    errors = errors_in_units(written, actual(folder / f"{dataset}.csv", ["power", "flow"]))
    measured = evaluate(store, run, "test").to_json()["datasets"][dataset]
    assert len(errors) == measured["samples"] * HORIZON
    np.testing.assert_allclose(errors.mean(), list(measured["mae_units"].values()), rtol=1e-6)
    np.testing.assert_allclose((errors**2).mean() ** 0.5, list(measured["rmse_units"].values()), rtol=1e-6)
    # One by one: in the order of series and time, as the samples are.
    index = run.index_of(dataset)
    samples = run.datasets[index]
    batch = samples.batch("test", np.arange(samples.num_samples("test")))
    forecasts = make_forecaster(store, run, index).forecast(batch).point
    center, scale = np.array(samples.encoding.center[-2:]), np.array(samples.encoding.scale[-2:])
    truth = batch.targets * scale + center
    np.testing.assert_allclose(np.abs(forecasts - truth).reshape(-1, 2), errors, rtol=0, atol=3e-5)


def test_the_last_window_of_each_series_ends_at_its_last_row_and_is_the_last_of_all(sites: Opened) -> None:
    last, every = predict(sites, "a", "a.csv"), predict(sites, "a", "a.csv", "all.csv", every=True)
    assert list(last.columns) == ["series", "cutoff", "step", "time", "power", "flow"]
    assert list(last["step"]) == [1, 2, 3] * 2
    truth = actual(sites[2] / "a.csv", ["power"])
    for name, rows in last.groupby("series"):
        ends = truth.loc[name].index
        assert set(rows["cutoff"]) == {str(ends[-1])}
        hours = pd.to_timedelta(rows["step"], unit="h")
        assert (pd.to_datetime(rows["time"]) == ends[-1] + hours).all()
        forecasts = every[every["series"] == name]
        assert len(forecasts) == (len(ends) - 2) * HORIZON  # from the third row on, see min_lookback
        np.testing.assert_allclose(forecasts.tail(HORIZON)[["power", "flow"]], rows[["power", "flow"]], rtol=1e-6)


def test_a_forecast_is_what_pandas_and_torch_make_of_the_file_by_hand(tmp_path: Path) -> None:
    plain = {"series": "pump", "categorical": [], "calendar": [], "missing": "interpolate", "missing_flags": False}
    columns = {"features": ["flow"], "targets": ["power"], "min_lookback": LOOKBACK}
    store, run, _ = opened = train_sites(tmp_path, data={**plain, **columns})
    frame = pd.read_csv(tmp_path / "a.csv", parse_dates=["time"]).set_index("time")
    series = {name: rows[["flow", "power"]].asfreq("h").astype(np.float32) for name, rows in frame.groupby("pump")}
    train = pd.concat([rows.iloc[: int(len(rows) * 0.7)] for rows in series.values()]).astype(float)
    mean, deviation = train.mean(), train.std(ddof=0)
    weights = store.load(run.key).model
    lstm, head = nn.LSTM(1, 6, batch_first=True), nn.Linear(6, HORIZON)
    lstm.load_state_dict({name.split(".")[-1]: value for name, value in weights.items() if name.startswith("forward")})
    head.load_state_dict({name: weights[f"head.{name}"] for name in ("weight", "bias")})
    forecasts = predict(opened, "a", "a.csv")
    for name, rows in series.items():
        flow = rows["flow"].interpolate(limit_direction="both").tail(LOOKBACK)
        window = torch.tensor(((flow - mean["flow"]) / deviation["flow"]).to_numpy(np.float32))[None, :, None]
        with torch.no_grad():
            outputs = head(lstm(window)[0][:, -1])[0].numpy()
        expected = outputs * deviation["power"] + mean["power"]
        np.testing.assert_allclose(forecasts[forecasts["series"] == name]["power"], expected, rtol=1e-5)
    # The file needs no targets.
    pd.read_csv(tmp_path / "a.csv").drop(columns="power").to_csv(tmp_path / "inputs.csv", index=False)
    pd.testing.assert_frame_equal(predict(opened, "a", "inputs.csv"), forecasts)


def test_other_rows_of_the_new_files_change_no_forecast(sites: Opened) -> None:
    folder = sites[2]
    expected = predict(sites, "b", "b.csv")
    frame = pd.read_csv(folder / "b.csv")
    wild = frame[frame["pump"] == "b0"].assign(pump="wild", power=1e6, mode="unheard of")
    new = pd.concat([wild, frame.groupby("pump").tail(60)])
    new.to_csv(folder / "new.csv", index=False)
    forecasts = predict(sites, "b", "new.csv")
    assert set(forecasts["series"]) == {"b0", "b1", "wild"}
    pd.testing.assert_frame_equal(forecasts[forecasts["series"] != "wild"].reset_index(drop=True), expected, rtol=1e-6)


def test_windows_that_touch_a_missing_value_give_no_forecast_where_they_gave_no_sample(tmp_path: Path) -> None:
    opened = train_sites(tmp_path, data={"missing": "drop", "missing_flags": False, "min_lookback": LOOKBACK})
    frame = pd.read_csv(tmp_path / "a.csv")
    frame = frame[frame["pump"] == "a0"].tail(60).ffill().bfill()
    frame.loc[frame.index[30], "flow"] = None
    frame.to_csv(tmp_path / "new.csv", index=False)
    truth = actual(tmp_path / "new.csv", ["power", "flow"]).loc["a0"]
    whole = truth.notna().all(axis=1).rolling(LOOKBACK).sum().eq(LOOKBACK)
    forecasts = predict(opened, "a", "new.csv", every=True)
    assert list(forecasts["cutoff"].unique()) == [str(time) for time in truth.index[whole]]
    frame.loc[frame.index[-1], "flow"] = None
    frame.to_csv(tmp_path / "new.csv", index=False)
    runs = ["--storage", str(tmp_path / "runs"), "--output", str(tmp_path / "x.csv")]
    code, _, err = invoke("predict", "sites", "--dataset", "a", "--input", str(tmp_path / "new.csv"), *runs)
    assert code == 2
    assert "every window has a missing value" in err


def test_quantiles_have_columns_and_the_middle_one_is_the_forecast(tmp_path: Path) -> None:
    opened = train_sites(tmp_path, model={"loss": "quantile", "quantiles": [0.1, 0.5, 0.9]})
    forecasts = predict(opened, "b", "b.csv")
    levels = [f"{name}_q{level}" for name in ("power", "flow") for level in (0.1, 0.5, 0.9)]
    assert list(forecasts.columns) == ["series", "cutoff", "step", "time", "power", "flow", *levels]
    for name in ("power", "flow"):
        np.testing.assert_array_equal(forecasts[f"{name}_q0.5"], forecasts[name])
        assert (forecasts[f"{name}_q0.1"] != forecasts[f"{name}_q0.9"]).all()
    store, run, _ = opened
    index = run.index_of("b")
    batch = run.datasets[index].batch("test", np.arange(5))
    forecaster = make_forecaster(store, run, index)
    with torch.no_grad():
        inputs, lengths = torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths)
        outputs = forecaster.model(inputs, lengths, owners=index).numpy()
    scale, center = (np.array(getattr(run.datasets[index].encoding, what)[-2:])[:, None] for what in ("scale", "center"))
    expected = outputs.reshape(5, HORIZON, 2, 3) * scale + center
    np.testing.assert_allclose(forecaster.forecast(batch).levels, expected, rtol=1e-6)
