"""A run with columns known in advance: predict, export, extend, compare, and messages about missing future rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from data.errors import InputError
from workflows import train
from workflows.python.result import Result
from workflows.results.export import export_model
from workflows.results.forecast_file import predict_files
from workflows.results.prediction import make_forecaster
from workflows.store.store import Store
from workflows.training.compare import compare

LOOKBACK, HORIZON, ROWS = 6, 3, 150
NAMES = ["price", "load"]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def site(seed: int, rows: int = ROWS) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    price, load = random.normal(10, 3, rows), random.normal(size=rows)
    times = pd.date_range("2024-01-01", periods=rows, freq="h")
    return pd.DataFrame({"ds": times, "y": 2 * price + load, "price": price, "load": load})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Result:
    keys: dict[str, Any] = {"frequency": "1h", "lookback": LOOKBACK, "horizon": HORIZON, "known_future": NAMES}
    keys |= {"hidden_size": 4, "epochs": 2, "batch_size": 32, "learning_rate": 0.02, "method": "replay+distill"}
    folder = tmp_path_factory.mktemp("known")
    return train({"a": site(0), "b": site(1)}, storage=folder / "runs", name="known", **keys)


def with_plan(rows: int, empty: int = HORIZON, seed: int = 0) -> pd.DataFrame:
    """Return the first rows of a site, followed by rows with empty targets."""
    frame = site(seed)[: rows + empty].copy()
    frame.loc[rows:, "y"] = np.nan
    return frame


def as_trained(result: Result, cutoff: int, dataset_index: int = 0) -> np.ndarray:
    """Return the forecast for the prepared sample with the last input row `cutoff`, in the target's unit."""
    run = result.run
    batch = run.datasets[dataset_index].batch("test", np.array([cutoff + 1 - int(0.8 * ROWS)]))
    return make_forecaster(Store(result.storage), run, dataset_index).forecast(batch).point[0, :, 0]


def test_a_forecast_from_rows_with_a_plan_is_that_of_the_prepared_sample(trained: Result, tmp_path: Path) -> None:
    """Forecast from a file with more future rows than needed; the times are those of its rows."""
    frame = with_plan(130, HORIZON + 2)
    forecast = trained.predict(frame, "a")
    assert forecast["cutoff"].tolist() == [frame["ds"][129]] * HORIZON
    assert forecast["time"].tolist() == frame["ds"][130 : 130 + HORIZON].tolist()
    np.testing.assert_allclose(forecast["y"], as_trained(trained, 129), **CLOSE)
    frame.to_csv(tmp_path / "a.csv", index=False)
    predict_files(Store(trained.storage), trained.run, "a", str(tmp_path / "a.csv"), str(tmp_path / "out.csv"), False)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["y"], forecast["y"], **CLOSE)


def test_only_the_known_columns_of_future_rows_change_a_forecast(trained: Result) -> None:
    frame, other, filled = with_plan(130), with_plan(130), with_plan(130)
    other.loc[131, "price"] += 5
    filled.loc[129, "y"], frame.loc[129, "y"] = np.nan, np.nan  # both end at row 128: row 129 is part of the plan
    assert not np.allclose(trained.predict(with_plan(130), "a")["y"], trained.predict(other, "a")["y"])
    assert trained.predict(filled[:132], "a")["cutoff"].iloc[0] == frame["ds"][128]


def test_every_window_with_known_rows_behind_it_has_a_forecast(trained: Result) -> None:
    frame = site(0)
    with pytest.warns(UserWarning, match=rf"{HORIZON} windows without price, load at the 3 rows behind them"):
        forecasts = trained.predict(frame, "a", every=True)
    assert len(forecasts) == HORIZON * (ROWS - LOOKBACK + 1 - HORIZON)
    last = forecasts[forecasts["cutoff"] == frame["ds"][140]]
    np.testing.assert_allclose(last["y"], as_trained(trained, 140), **CLOSE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame[:130], r"after its last observed row \(2024-01-06 09:00:00\), and has 0 of these rows"),
        (lambda frame: frame[:132], r"a forecast needs price, load at the 3 steps .* and has 2 of these rows"),
        (lambda frame: frame.drop(index=131), r"'price' is empty at 2024-01-06 11:00:00"),
    ],
)
def test_missing_future_rows_are_named(trained: Result, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        trained.predict(change(with_plan(130)), "a")
    assert "the frame, series" in str(caught.value)


def test_arrays_without_future_rows_and_short_series_are_refused(trained: Result) -> None:
    with pytest.raises(InputError, match="the model takes price, load at the predicted rows, which X does not have"):
        trained.predict(np.zeros((2, LOOKBACK, 3)), "a")
    with pytest.raises(InputError, match=r"no series has the 6 rows of one window \(min_lookback\); the longest, .* has 4"):
        trained.predict(with_plan(4), "a")
    with pytest.raises(InputError, match="no window has price, load at the 3 rows behind it"):
        trained.predict(site(0)[:LOOKBACK], "a", every=True)


def inputs_of(model: Any) -> dict[str, torch.Tensor]:
    """Return the window of site a that ends at row 129, and the future rows after it."""
    frame = site(0).astype(dict.fromkeys(("y", *NAMES), np.float32))
    window, ahead = frame[130 - LOOKBACK : 130], frame[130 : 130 + HORIZON]
    frames = {"values": window[model.features], "future": ahead[model.known]}
    return {name: torch.tensor(each.to_numpy())[None] for name, each in frames.items()}


def test_the_model_in_raw_units_takes_the_plan_as_one_more_input(trained: Result) -> None:
    model = trained.model_of("a")
    with torch.inference_mode():
        forecast = model(**inputs_of(model))
    np.testing.assert_allclose(forecast[0, :, 0], trained.predict(with_plan(130), "a")["y"], **CLOSE)


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_an_exported_file_takes_the_plan_as_one_more_input(trained: Result, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model.{suffix}"
    description = export_model(Store(trained.storage), trained.run, str(path), "a").content
    assert description["inputs"][1] == {
        "name": "future",
        "dtype": "float32",
        "shape": ["batch", HORIZON, 2],
        "columns": NAMES,
        "missing": "NaN is not allowed",
        "meaning": "the rows that are predicted",
    }
    inputs = inputs_of(trained.model_of("a"))
    if suffix == "pt2":
        forecast = torch.export.load(path).module()(**inputs).detach().numpy()
    else:
        session = onnxruntime.InferenceSession(str(path))
        (forecast,) = session.run(None, {name: each.numpy() for name, each in inputs.items()})
    np.testing.assert_allclose(forecast[0, :, 0], trained.predict(with_plan(130), "a")["y"], **CLOSE)


def test_a_run_goes_on_with_a_new_dataset_and_is_compared_with_joint_training(trained: Result) -> None:
    copy = trained.extend(site(2), "c", epochs=1)
    assert [stage.dataset for stage in copy.result.stages][-1] == "c"
    assert copy.result.test["c"].error is not None
    assert len(copy.predict(with_plan(120, seed=2), "c")) == HORIZON
    comparison = compare(trained.storage, "known")
    assert comparison.mean.joint is not None
    with pytest.raises(InputError, match="there is no column 'load'"):
        trained.extend(site(3).drop(columns="load"), "d")
