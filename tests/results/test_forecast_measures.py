"""Seasonal naive, MASE, errors by step, pinball loss and coverage of a run, against pandas and utilsforecast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import invoke
from sites import Opened, train_sites
from utilsforecast.losses import coverage, mase, quantile_loss

from data.reading.frequency import parse_frequency, usual_season
from workflows.results.evaluation import evaluate
from workflows.results.prediction import make_forecaster

SEASON, HORIZON = 6, 8  # more steps than a season: the last season is repeated
OWN = {
    "features": ["power"],
    "targets": ["power"],
    "missing_flags": False,
    "categorical": [],
    "calendar": [],
    "min_lookback": 4,
    "lookback": 5,
    "horizon": HORIZON,
    "season": SEASON,
}
QUANTILES = [0.05, 0.3, 0.5, 0.7, 0.95]


@pytest.fixture(scope="module")
def quantiles(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    changes: dict[str, Any] = {"data": OWN, "model": {"loss": "quantile", "quantiles": QUANTILES}}
    return train_sites(tmp_path_factory.mktemp("quantiles"), **changes)


def series_of(folder: Path, site: str) -> dict[str, pd.Series]:
    """Return the power of each pump on its grid, missing where it is not observed."""
    rows = pd.read_csv(folder / f"{site}.csv", parse_dates=["time"])
    return {
        str(pump): series.set_index("time")["power"].asfreq("h").astype(np.float32).astype(float)
        for pump, series in rows.groupby("pump")
    }


def windows_of(folder: Path, site: str) -> Iterator[tuple[str, pd.Series, int, int]]:
    """Yield the pump, its power, the first test row and the last input row of each test window, in order."""
    for pump, power in series_of(folder, site).items():
        first = int(len(power) * 0.8 + 1e-9)
        for end in range(first - 1, len(power) - HORIZON):
            if power.iloc[end + 1 : end + 1 + HORIZON].notna().all():
                yield pump, power, first, end


def long_frame(opened: Opened, site: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the forecasts of all test windows with the observed values, and the train rows: a series for each window."""
    store, run, folder = opened
    index = run.index_of(site)
    dataset, forecaster = run.datasets[index], make_forecaster(store, run, index)
    walked = forecaster.walk(dataset.lengths("test"), lambda samples: dataset.batch("test", samples))
    levels = np.concatenate([each.levels for _, each in walked if each.levels is not None])[:, :, 0]
    frames, train = [], []
    for number, (pump, power, _, end) in enumerate(windows_of(folder, site)):
        name = f"{pump}/{number:04d}"
        frame = pd.DataFrame(
            {"unique_id": name, "ds": range(HORIZON), "y": power.iloc[end + 1 : end + 1 + HORIZON].to_numpy()}
        )
        for level, values in zip(QUANTILES, levels[number].T, strict=True):
            frame[f"q{level}"] = values
        frame["model"] = frame["q0.5"]
        frame["model-lo-90"], frame["model-hi-90"] = frame["q0.05"], frame["q0.95"]
        frame["model-lo-40"], frame["model-hi-40"] = frame["q0.3"], frame["q0.7"]
        frames.append(frame)
        train_rows = power.iloc[: int(len(power) * 0.7 + 1e-9)]
        train.append(pd.DataFrame({"unique_id": name, "ds": range(len(train_rows)), "y": train_rows.to_numpy()}))
    return pd.concat(frames), pd.concat(train)


@pytest.mark.parametrize("site", ["a", "b"])
def test_mase_pinball_and_coverage_are_those_of_utilsforecast(quantiles: Opened, site: str) -> None:
    frame, train = long_frame(quantiles, site)
    store, run, _ = quantiles
    errors = evaluate(store, run, "test").to_json()["datasets"][site]
    assert errors["samples"] == frame["unique_id"].nunique()
    expected = mase(frame, ["model"], SEASON, train)["model"].mean()  # what utilsforecast.evaluate gives with agg_fn="mean"
    assert errors["mase"]["power"] == pytest.approx(expected, rel=1e-5)
    assert errors["mean_mase"] == errors["mase"]["power"]
    scale = run.datasets[run.index_of(site)].target_scale[0]
    for level in QUANTILES:
        loss = quantile_loss(frame, {"model": f"q{level}"}, q=level)["model"].mean()
        assert errors["pinball"][f"{level:g}"] * scale == pytest.approx(loss, rel=1e-4)
    for level, interval in zip((90, 40), errors["intervals"], strict=True):
        assert interval["upper"] - interval["lower"] == pytest.approx(level / 100)
        assert interval["coverage"] == pytest.approx(coverage(frame, ["model"], level)["model"].mean(), abs=1e-9)
        assert interval["values"] == len(frame)


def test_errors_by_step_are_those_of_the_rows_of_that_step(quantiles: Opened) -> None:
    frame, train = long_frame(quantiles, "a")
    store, run, folder = quantiles
    steps = evaluate(store, run, "test").to_json()["datasets"]["a"]["by_step"]
    scale = run.datasets[0].target_scale[0]
    for step in (0, 3, HORIZON - 1):
        rows = frame[frame["ds"] == step]
        loss = np.mean([quantile_loss(rows, {"model": f"q{level}"}, q=level)["model"].mean() for level in QUANTILES])
        assert steps["error"][step] * scale == pytest.approx(loss, rel=1e-4)
        relative = mase(rows, ["model"], SEASON, train)["model"].mean()
        assert steps["mase"][step] == pytest.approx(relative, rel=1e-5)
        naive = [abs(power.iloc[end + 1 + step] - power.ffill().iloc[end]) for _, power, _, end in windows_of(folder, "a")]
        assert steps["naive_error"][step] * scale * 2 == pytest.approx(np.mean(naive), rel=1e-5)
        assert steps["scaled_error"][step] == pytest.approx(steps["error"][step] / steps["naive_error"][step])


def test_the_seasonal_naive_forecast_repeats_the_season_before_the_window_ends(tmp_path: Path) -> None:
    store, run, _ = train_sites(tmp_path, data=OWN)
    for site in "ab":
        gaps = []
        for _, power, _, end in windows_of(tmp_path, site):
            known = power.ffill()
            for step in range(1, HORIZON + 1):
                before = end + step - SEASON * -(-step // SEASON)
                gaps.append(power.iloc[end + step] - known.iloc[before if before >= 0 else end])
        errors = evaluate(store, run, "test").to_json()["datasets"][site]
        assert errors["season"] == SEASON
        assert errors["seasonal_naive_mae_units"]["power"] == pytest.approx(np.abs(gaps).mean(), rel=1e-6)
        assert errors["seasonal_naive_rmse_units"]["power"] == pytest.approx((np.array(gaps) ** 2).mean() ** 0.5, rel=1e-6)
        scale = run.datasets[run.index_of(site)].target_scale[0]
        assert errors["seasonal_naive_error"] == pytest.approx((np.array(gaps) ** 2).mean() / scale**2, rel=1e-6)
        assert errors["error_to_seasonal_naive"] == pytest.approx(errors["error"] / errors["seasonal_naive_error"])
        assert errors["intervals"] == []


def test_forecast_measures_are_in_result_json_the_report_and_the_tables_of_evaluate(quantiles: Opened) -> None:
    store, run, folder = quantiles
    result = store.result("sites", dict)
    assert result is not None
    of_run, evaluated = result["test"]["a"]["forecasts"], evaluate(store, run, "test").to_json()["datasets"]["a"]
    assert of_run["seasonal_naive_error"] == evaluated["seasonal_naive_error"]
    assert of_run["mase"] == list(evaluated["mase"].values())
    assert of_run["intervals"] == evaluated["intervals"]
    assert of_run["by_step"]["error"] == list(evaluated["by_step"]["error"])
    storage = ["--storage", str(folder / "runs")]
    shown = invoke("evaluate", "sites", *storage)[1]
    for words in ("seasonal naive", "MASE", "step 8", "0.05 to 0.95", "coverage", "q0.3"):
        assert words in shown
    assert invoke("report", "sites", *storage, "--output", str(folder / "page.html"))[0] == 0
    page = (folder / "page.html").read_text()
    for words in ("Forecast measures", "test / seasonal naive", "MASE on test, by forecast step", "0.05 to 0.95"):
        assert words in page


def test_another_season_costs_an_evaluation_and_no_epoch(tmp_path: Path) -> None:
    from helpers import train_in_process
    from sites import document

    from workflows.recipe.recipe import check_recipe

    store, first, folder = train_sites(tmp_path, data=OWN)
    other = train_in_process(check_recipe(document(data={**OWN, "season": 4}), folder), folder / "runs")[1]
    assert other.key == first.key
    assert [each.prepared.folder for each in other.datasets] == [each.prepared.folder for each in first.datasets]
    result = store.result("sites", dict)
    assert result is not None
    assert result["epochs_trained"] == 0
    assert result["test"]["a"]["forecasts"]["season"] == 4


@pytest.mark.parametrize(
    ("frequency", "season"),
    [
        ("1h", 24), ("15min", 96), ("24h", 7), ("1d", 7), ("1w", 52), ("1mo", 12), ("1q", 4), ("1y", 1), ("2y", 1),
        ("1b", 5), ("2d", None), ("7h", None), ("5mo", None), (1, None), (None, None),
    ],
)  # fmt: skip
def test_the_usual_season_of_a_frequency(frequency: str | int | None, season: int | None) -> None:
    assert usual_season(None if frequency is None else parse_frequency(frequency)) == season
