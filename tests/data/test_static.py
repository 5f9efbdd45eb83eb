"""Static columns are inputs at every step, constant within a series, and unchanged in normalised windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from data_cases import noise, prepare_frame, samples_of

from data.errors import InputError
from data.reading.settings import DataSettings
from models.lstm import LSTM
from models.settings import Channels, ModelSettings
from workflows import train
from workflows.recipe.checks import validate

SETTINGS = {
    "time": "t",
    "series": "key",
    "features": ["area", "b"],
    "targets": ["b"],
    "static": ["area", "height"],
    "lookback": 4,
    "horizon": 2,
    "scaling": "none",
}


def fields() -> pd.DataFrame:
    frame = noise(60, "b").assign(key=np.repeat(["k1", "k2"], 30), t=np.tile(np.arange(30), 2))
    return frame.assign(area=np.where(frame["key"] == "k1", 7.0, 11.0), height=3.0 + (frame["key"] == "k2"))


@pytest.mark.filterwarnings("ignore:.*constant")
def test_static_columns_are_the_last_features_of_every_step(tmp_path: Path) -> None:
    frame = fields()
    frame.loc[[3, 40], "area"] = np.nan  # a missing value is not another value
    prepared = prepare_frame(frame, tmp_path, **SETTINGS)
    assert prepared.settings.features == ["b", "area", "height"]
    inputs = samples_of(prepared, "train").inputs
    assert {tuple(row) for row in inputs[..., 1:].reshape(-1, 2).tolist()} == {(7.0, 3.0), (11.0, 4.0)}


def test_a_series_with_two_values_is_refused_with_both(tmp_path: Path) -> None:
    frame = fields()
    frame.loc[45, "height"] = 9.5
    with pytest.raises(InputError, match=r"series 'k2' has height = 4 and 9.5, and 'height' is in static"):
        prepare_frame(frame, tmp_path, **SETTINGS)


def test_wrong_static_columns_are_refused() -> None:
    problems: list[str] = []
    validate(DataSettings, {**SETTINGS, "static": ["b"]}, "data", problems)
    validate(DataSettings, {**SETTINGS, "features": [], "targets": ["c"]}, "data", problems)
    assert "what is predicted is not constant" in problems[0]
    assert "all features are static" in problems[1]
    kept = {name: value for name, value in SETTINGS.items() if name != "static"}
    assert "static" not in DataSettings.model_validate(kept).decisive()


def test_a_normalised_window_keeps_its_static_features() -> None:
    torch.manual_seed(0)
    settings = ModelSettings(hidden_size=4, window_normalization="instance")
    inputs = torch.randn(3, 5, 2)
    other = inputs.clone()
    other[..., 1] += 2.0
    for moving, same in ((1, False), (2, True)):  # as an ordinary feature, a constant column is normalised away
        model = LSTM(settings, 2, 1, Channels(moving, (0,)))
        inputs[..., 1], other[..., 1] = 1.0, 3.0
        assert torch.allclose(model(inputs, None), model(other, None)) == same


def test_a_run_tells_series_apart_by_a_static_column(tmp_path: Path) -> None:
    """Train on two series with the same windows, of which the next value depends on the static column only."""
    steps = np.arange(120)
    rows = [
        pd.DataFrame(
            {"key": f"k{kind}", "t": steps, "b": np.where(steps % 2, kind - 3.5, 0.01 * np.sin(steps)), "kind": kind}
        )
        for kind in (2, 5)
    ]
    pd.concat(rows).to_csv(tmp_path / "a.csv", index=False)
    data = {"time": "t", "series": "key", "features": ["b"], "targets": ["b"], "lookback": 1, "horizon": 1}
    errors = []
    for static in (["kind"], []):
        recipe = {
            "name": f"with_{len(static)}",
            "data": {**data, "static": static},
            "datasets": [{"name": "a", "path": str(tmp_path / "a.csv")}],
            "model": {"hidden_size": 8},
            "training": {"epochs": 6, "learning_rate": 0.05, "batch_size": 16},
            "compute": {"num_workers": 0, "cpus_per_worker": 1},
        }
        errors.append(train(recipe, storage=tmp_path / "runs").result.test["a"].error)
    assert errors[0] < 0.2 * errors[1]
