"""Columns with the probabilities of classes, against torch's softmax."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from commands import invoke
from helpers import train_in_process

from workflows.recipe.recipe import check_recipe
from workflows.store.store import Store


def test_each_class_has_a_column_and_the_label_is_the_likeliest(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    steps = 60
    frame = pd.DataFrame({"x": random.normal(size=steps), "kind": random.choice(["dull", "sharp", "grey"], steps)})
    frame.to_csv(tmp_path / "takes.csv", index=False)
    document = {
        "name": "kinds",
        "data": {"features": ["x"], "targets": ["kind"], "lookback": 4, "horizon": 0, "scaling": "none"},
        "datasets": [{"name": "takes", "path": "takes.csv"}],
        "model": {"hidden_size": 4, "loss": "cross_entropy"},
        "training": {"epochs": 1, "learning_rate": 0.05},
        "compute": {"num_workers": 0},
    }
    _, run = train_in_process(check_recipe(document, tmp_path), tmp_path / "runs")
    words = ["--input", str(tmp_path / "takes.csv"), "--output", str(tmp_path / "out.csv"), "--all", "--probabilities"]
    assert invoke("predict", "kinds", *words, "--storage", str(tmp_path / "runs"))[0] == 0
    forecasts = pd.read_csv(tmp_path / "out.csv")
    labels = ["dull", "grey", "sharp"]
    assert list(forecasts.columns) == ["series", "cutoff", "step", "time", "kind", *(f"kind_p_{label}" for label in labels)]
    weights = Store(str(tmp_path / "runs")).load(run.key).model
    loop, head = torch.nn.LSTM(1, 4, batch_first=True), torch.nn.Linear(4, 3)
    loop.load_state_dict({name.split(".")[-1]: value for name, value in weights.items() if name.startswith("forward")})
    head.load_state_dict({name: weights[f"head.{name}"] for name in ("weight", "bias")})
    windows = np.lib.stride_tricks.sliding_window_view(frame["x"].to_numpy(np.float32), 4)[..., None]
    with torch.no_grad():
        expected = head(loop(torch.from_numpy(windows.copy()))[0][:, -1]).softmax(dim=1).numpy()
    np.testing.assert_allclose(forecasts[[f"kind_p_{label}" for label in labels]], expected, rtol=1e-5)
    assert list(forecasts["kind"]) == [labels[index] for index in expected.argmax(axis=1)]
    assert (forecasts["cutoff"] == np.arange(3, steps)).all()
    assert (forecasts["time"] == forecasts["cutoff"]).all()
