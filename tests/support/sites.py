"""A run on two sites with two pumps each, trained in this process, for tests that evaluate, predict and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from helpers import train_in_process

from workflows.recipe.recipe import check_recipe
from workflows.results.forecast_file import predict_files
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

LOOKBACK, HORIZON, ROWS = 8, 3, 240
Opened = tuple[Store, TrainedRun, Path]


def write_sites(folder: Path, seed: int = 0) -> None:
    """Write hourly sites a and b to one file each, with two pumps each; rows, numbers and categories are missing."""
    for number, site in enumerate("ab"):
        frames = []
        for pump in range(2):
            random = np.random.default_rng([seed, number, pump])
            hours = np.arange(ROWS)
            wave = np.sin(2 * np.pi * hours / 24 + pump)
            frame = pd.DataFrame(
                {
                    "time": pd.date_range("2024-03-01", periods=ROWS, freq="h").astype(str),
                    "pump": f"{site}{pump}",
                    "power": 50 + 9 * number + 7 * wave + random.normal(size=ROWS),
                    "flow": 3 - wave + 0.3 * random.normal(size=ROWS),
                    "mode": random.choice(["idle", "low", "high"], ROWS),
                }
            )
            for column in ("power", "flow", "mode"):
                frame.loc[random.random(ROWS) < 0.03, column] = None
            frames.append(frame[random.random(ROWS) > 0.02])
        pd.concat(frames).to_csv(folder / f"{site}.csv", index=False)


def document(**changes: Any) -> dict[str, Any]:
    data = {
        "time": "time",
        "series": "pump",
        "features": ["power", "flow"],
        "targets": ["power", "flow"],
        "categorical": ["mode"],
        "calendar": ["hour"],
        "frequency": "1h",
        "missing": "forward",
        "missing_flags": True,
        "lookback": LOOKBACK,
        "min_lookback": 3,
        "horizon": HORIZON,
    }
    return {
        "name": "sites",
        "data": {**data, **changes.get("data", {})},
        "datasets": [{"name": "{file}", "path": "[ab].csv"}],
        "model": {"hidden_size": 6, **changes.get("model", {})},
        "training": {"epochs": 1, "batch_size": 32, "learning_rate": 0.01},
        "compute": {"num_workers": 0},
    }


def train_sites(folder: Path, **changes: Any) -> Opened:
    write_sites(folder)
    return *train_in_process(check_recipe(document(**changes), folder), folder / "runs"), folder


def predict(sites: Opened, dataset: str, path: str, output: str = "out.csv", every: bool = False) -> pd.DataFrame:
    """Return the table that `predict` writes for a file in the folder of the sites."""
    store, run, folder = sites
    predict_files(store, run, dataset, str(folder / path), str(folder / output), every)
    return pd.read_csv(folder / output)
