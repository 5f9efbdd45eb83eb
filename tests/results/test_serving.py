"""The Serve deployment and the batch prediction of docs/serving.md, run as written there."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import train_in_process
from small import write_small

from workflows.recipe.recipe import load_recipe
from workflows.results.export import export_model, raw_model

GUIDE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
SERVE, BATCHES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.ray
@pytest.mark.long
def test_the_deployment_and_the_batch_prediction_of_the_guide_give_the_models_forecasts(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes half a minute: a training, two exports, a start of Serve."""
    import ray
    from ray import serve

    monkeypatch.chdir(tmp_path)
    store, run = train_in_process(load_recipe(write_small(tmp_path)), tmp_path / "runs")
    for suffix in ("onnx", "pt2"):
        export_model(store, run, f"{tmp_path}/north.{suffix}", "anvil")
    windows = 100 + 20 * np.random.default_rng(0).normal(size=(5, 12, 2)).astype(np.float32)
    windows[1, 3:6, 0] = np.nan
    with torch.inference_mode():
        expected = raw_model(store, run, "anvil")(torch.from_numpy(windows)).numpy()

    names: dict[str, Any] = {}
    exec(BATCHES.replace("north.pt2", f"{tmp_path}/north.pt2"), names)
    rows = ray.data.from_items([{"series": str(number), "values": window} for number, window in enumerate(windows)])
    forecasts = {row["series"]: row["forecast"] for row in names["predict"](rows).take_all()}
    np.testing.assert_allclose(np.stack([forecasts[str(number)] for number in range(5)]), expected, rtol=1e-5, atol=1e-5)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        exec(SERVE.replace("north.onnx", f"{tmp_path}/north.onnx"), names)
        serve.run(names["app"])
        for window, forecast in zip(windows, expected, strict=True):
            values = [[None if np.isnan(value) else float(value) for value in row] for row in window]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", json.dumps({"values": values}).encode()) as answer:
                np.testing.assert_allclose(json.loads(answer.read())["forecast"], forecast, rtol=1e-5, atol=1e-5)
    finally:
        serve.shutdown()
