"""Forecasts start at the last observed row, warn about filled windows, and need at least one observed target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import train_in_process
from sites import Opened

from data.errors import InputError
from workflows.recipe.recipe import check_recipe
from workflows.results.forecast_file import predict_files

ROWS, LOOKBACK = 200, 4


def frame_of(rows: int = ROWS) -> pd.DataFrame:
    wave = np.sin(np.arange(rows) / 5)
    times = pd.date_range("2024-01-01", periods=rows, freq="h").astype(str)
    return pd.DataFrame({"ts": times, "y": wave.round(3), "temp": (2 * wave).round(3)})


def train(folder: Path, **data: Any) -> Opened:
    frame_of().to_csv(folder / "a.csv", index=False)
    settings = {"time": "ts", "features": ["y", "temp"], "targets": ["y"], "lookback": LOOKBACK, "horizon": 1, **data}
    document = {
        "data": settings,
        "datasets": [{"name": "a", "path": "a.csv"}],
        "model": {"hidden_size": 3},
        "training": {"epochs": 1},
        "compute": {"num_workers": 0},
    }
    return *train_in_process(check_recipe(document, folder), folder / "runs"), folder


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return train(tmp_path_factory.mktemp("rows"))


def predicted(opened: Opened, frame: pd.DataFrame, every: bool = False) -> tuple[pd.DataFrame, tuple[str, ...]]:
    store, run, folder = opened
    frame.to_csv(folder / "new.csv", index=False)
    done = predict_files(store, run, None, str(folder / "new.csv"), str(folder / "out.csv"), every)
    return pd.read_csv(folder / "out.csv"), done.warnings


def test_rows_at_the_end_without_a_target_ask_for_a_forecast(opened: Opened) -> None:  # case 05
    new = frame_of()[-30:]
    expected, warnings = predicted(opened, new[:-6])
    assert warnings == ()
    new.loc[new.index[-6:], "y"] = None
    forecasts, warnings = predicted(opened, new)
    pd.testing.assert_frame_equal(forecasts, expected)
    (warning,) = warnings
    assert "series 'a': the last 6 rows are empty: it ends at the last observed row (2024-01-09 01:00:00)" in warning
    every, _ = predicted(opened, new, every=True)
    assert len(every) == 30 - 6 - LOOKBACK + 1


def test_a_filled_window_gives_a_warning(opened: Opened) -> None:
    new = frame_of()[-30:]
    new.loc[new.index[-3:-1], "y"] = None
    _, warnings = predicted(opened, new)
    assert warnings == ("forecasts of 1 series come from windows of which more than a tenth was filled: 'a' 25%",)


@pytest.mark.parametrize("every", [False, True])
def test_a_window_without_an_observed_target_is_refused(opened: Opened, every: bool) -> None:
    with pytest.raises(InputError, match="no row of series 'a' has a value of y within a window: a forecast would come"):
        predicted(opened, frame_of()[-30:].assign(y=None), every)
    gap = frame_of()[-30:]
    gap.loc[gap.index[10:16], "y"] = None
    forecasts, warnings = predicted(opened, gap, every=True)
    blind = 6 - LOOKBACK + 1
    assert len(forecasts) == 30 - LOOKBACK + 1 - blind
    assert f"{blind} windows without a single observed target give no forecast" in warnings


def test_a_counter_is_forecast_near_its_last_value(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(1, 9, ROWS)
    frame = frame_of().assign(y=100_000_000 + np.cumsum(steps))
    frame.to_csv(tmp_path / "a.csv", index=False)
    document = {
        "data": {"time": "ts", "features": ["y"], "targets": ["y"], "lookback": LOOKBACK, "horizon": 1},
        "datasets": [{"name": "a", "path": "a.csv"}],
        "model": {"hidden_size": 8, "window_normalization": "last"},
        "training": {"epochs": 5, "learning_rate": 0.01},
        "compute": {"num_workers": 0},
    }
    store, run = train_in_process(check_recipe(document, tmp_path), tmp_path / "runs")
    predict_files(store, run, None, str(tmp_path / "a.csv"), str(tmp_path / "out.csv"), True)
    out = pd.read_csv(tmp_path / "out.csv")
    truth = frame["y"].to_numpy()[LOOKBACK:]
    errors = np.abs(out["y"].to_numpy()[: len(truth)] - truth)
    assert errors.mean() < 4  # float32 alone is off by up to 4 here, and the steps are 1 to 8


def test_new_times_are_understood_by_the_zone_of_the_recipe(tmp_path: Path) -> None:  # case 04
    opened = train(tmp_path, time_zone="Europe/Berlin", calendar=["hour"], frequency="1h")
    plain, _ = predicted(opened, frame_of())
    moments = pd.date_range("2024-01-01", periods=ROWS, freq="h", tz="Europe/Berlin").tz_convert("UTC")
    zoned, _ = predicted(opened, frame_of().assign(ts=[moment.isoformat() for moment in moments]))
    pd.testing.assert_frame_equal(zoned, plain)
    assert pd.Timestamp(plain["cutoff"][0]) == moments[-1]
