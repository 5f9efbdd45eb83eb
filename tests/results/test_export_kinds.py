"""Exported models of classes, of rows in 64 bits and with static columns: torch, the files and `predict` agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from workflows import train
from workflows.python.result import Result
from workflows.results.export import export_model
from workflows.store.store import Store

COMMON: dict[str, Any] = {"hidden_size": 4, "epochs": 1, "batch_size": 32, "series": "key", "time": "t"}


def classes() -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return sequences of 6 to 9 rows, each of one of three classes."""
    random, frames = np.random.default_rng(0), []
    for number in range(45):
        rows = 6 + number % 4
        frame = pd.DataFrame({"t": np.arange(rows), "x": random.normal(number % 3, 1, rows), "z": random.normal(size=rows)})
        frames.append(frame.assign(key=f"s{number:02d}", label=["low", "mid", "high"][number % 3]))
    keys = {"features": ["x", "z"], "targets": ["label"], "loss": "cross_entropy", "lookback": "all", "horizon": 0}
    return pd.concat(frames), {**keys, "min_lookback": 2, "split_by": "series"}


def wide() -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a counter near 1e10 that rises by about 1, which float32 cannot represent."""
    random = np.random.default_rng(0)
    count = 1e10 + np.cumsum(random.random(150) * 2)
    frame = pd.DataFrame({"t": np.arange(150), "key": "k", "count": count, "x": random.normal(size=150)})
    keys = {"features": ["count", "x"], "targets": ["count"], "lookback": 6, "horizon": 2, "frequency": 1}
    return frame, {**keys, "window_normalization": "last"}


def static() -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return two series with a constant area, which window normalization leaves unchanged."""
    random, frames = np.random.default_rng(0), []
    for number, area in enumerate((3.0, 8.0)):
        values = random.normal(area, 1, 90)
        frames.append(pd.DataFrame({"t": np.arange(90), "key": f"k{number}", "y": values, "area": area}))
    keys = {"features": ["y"], "targets": ["y"], "static": ["area"], "lookback": 6, "horizon": 2, "frequency": 1}
    return pd.concat(frames), {**keys, "window_normalization": "instance"}


CASES = {"classes": classes, "wide": wide, "static": static}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, pd.DataFrame, Result]:
    frame, keys = CASES[request.param]()
    return request.param, frame, train({"a": frame}, storage=tmp_path_factory.mktemp("kind"), **{**COMMON, **keys})


def window_of(frame: pd.DataFrame, model: Any) -> tuple[pd.DataFrame, torch.Tensor]:
    """Return the last six rows of a series, and the model's input from them."""
    rows = frame[frame["key"] == frame["key"].iloc[-1]][-6:]
    return rows, torch.tensor(rows[model.features].to_numpy(), dtype=model.dtype)[None]


def predicted(result: Result, rows: pd.DataFrame, name: str) -> np.ndarray:
    if name == "classes":
        (labels,) = {tuple(result.classes)}
        table = result.predict(rows, probabilities=True)
        return table[[f"label_p_{label}" for label in labels]].to_numpy()
    return result.predict(rows)[result.run.datasets[0].prepared.targets].to_numpy()


def close(values: Any, expected: np.ndarray, name: str) -> None:
    """Check that values agree to 1e-5; a counter of 1e10 to a hundredth of its steps of one."""
    tolerance = {"rtol": 0, "atol": 0.01} if name == "wide" else {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(np.asarray(values).reshape(expected.shape), expected, **tolerance)


def test_the_model_in_raw_units_is_that_of_predict(case: tuple[str, pd.DataFrame, Result]) -> None:
    name, frame, result = case
    model = result.model
    rows, values = window_of(frame, model)
    assert model.dtype == (torch.float64 if name == "wide" else torch.float32)
    with torch.inference_mode():
        forecasts = model(values).double().numpy()
    close(forecasts, predicted(result, rows, name), name)


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_the_files_are_that_model(case: tuple[str, pd.DataFrame, Result], tmp_path: Path, suffix: str) -> None:
    name, frame, result = case
    path, (_, values) = tmp_path / f"model.{suffix}", window_of(frame, result.model)
    description = export_model(Store(result.storage), result.run, str(path)).content
    for windows in (values, values.repeat(3, 1, 1), values[:, -3:]):
        with torch.inference_mode():
            expected = result.model(windows).numpy()
        if suffix == "pt2":
            forecasts = torch.export.load(path).module()(values=windows).detach().numpy()
        else:
            (forecasts,) = onnxruntime.InferenceSession(str(path)).run(None, {"values": windows.numpy()})
        close(forecasts, expected, name)
    assert description["inputs"][0]["dtype"] == ("float64" if name == "wide" else "float32")
    assert description["outputs"][0].get("classes", result.classes) == [str(label) for label in result.classes]
