"""A small recipe with its data: three machines with sines of different frequencies, in CSV files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

MACHINES = ("anvil", "bellows", "crane")
# Trains for several seconds, so that a test can interrupt it.
LONG: dict[str, Any] = {"training": {"epochs": 16}, "model": {"hidden_size": 48}, "rows": 700}
NUM_LONG_EPOCHS = 48
Run = tuple[Path, dict[str, Any]]  # the folder of its recipe, with its store in runs/, and its result


def write_machine(path: Path, number: int, rows: int = 330, seed: int = 0) -> None:
    random = np.random.default_rng([seed, number])
    step = np.arange(rows)
    load = np.sin(2 * np.pi * step / (12 + 5 * number)) * (-1) ** number + 0.1 * random.normal(size=rows)
    heat = np.cos(2 * np.pi * step / 40) + 0.1 * random.normal(size=rows)
    lines = ["step,load,heat", *(f"{s},{100 + 20 * x:.4f},{y:.4f}" for s, x, y in zip(step, load, heat, strict=True))]
    path.write_text("\n".join(lines) + "\n")


def small_document(**sections: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": "small",
        "seed": 3,
        "data": {
            "time": "step",
            "features": ["load", "heat"],
            "targets": ["load"],
            "frequency": 1,
            "lookback": 12,
            "horizon": 3,
        },
        "datasets": [{"name": name, "path": f"{name}.csv"} for name in MACHINES],
        "model": {"hidden_size": 8},
        "training": {"epochs": 2, "batch_size": 32, "learning_rate": 0.01},
    }
    for name, values in sections.items():
        document[name] = {**document[name], **values} if isinstance(values, dict) and name in document else values
    return document


def write_small(folder: Path, rows: int = 330, **sections: Any) -> Path:
    """Write the data and the recipe into a folder; return the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(MACHINES):
        write_machine(folder / f"{name}.csv", number, rows)
    path = folder / "small.toml"
    path.write_text(tomli_w.dumps(small_document(**sections)))
    return path


def share_prepared(storage: Path, other: Path) -> None:
    """Copy prepared datasets to another storage, so that a run there does not start Ray to prepare them."""
    shutil.copytree(storage / "prepared", other / "prepared", copy_function=shutil.copy2)
