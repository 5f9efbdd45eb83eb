"""Three ways to prepare the same Parquet files: preparing.py WAY FOLDER prints when it is ready and when it is done.

ours: the project's `prepare`, on Ray. pandas: one process, as in a notebook. ray_data: aggregate, map_batches, write, as in
Ray Data's tutorials. Each prints "ready" and waits for a line, so that neither imports nor Ray's start are measured, nor the
processes that Ray Data starts for its first execution; the seconds of that execution follow "ready".
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import numpy as np

SPLIT = (0.7, 0.1)
LOOKBACK, HORIZON = 96, 24


def ready(first_execution: float = 0.0) -> None:
    """Print "ready" and wait for the line with which the measurement begins."""
    print("ready", first_execution, flush=True)
    sys.stdin.readline()


def first_execution() -> float:
    """Return the seconds of an execution of Ray Data that does nothing but start its processes, one for each core."""
    import ray
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    started = time.perf_counter()
    ray.data.range(2, override_num_blocks=2).map(lambda row: row).take_all()
    seconds = time.perf_counter() - started
    wait = ray.remote(lambda: time.sleep(2.0))
    ray.get([wait.remote(), wait.remote()])
    return seconds


def ours(folder: Path) -> None:
    """Prepare as `python -m workflows prepare` does."""
    from cluster.connect import connect
    from workflows.prepare.preparation import prepare_datasets
    from workflows.recipe.recipe import load_recipe

    recipe = load_recipe(folder / "rows.toml")
    connect()
    ready(first_execution())
    prepared = prepare_datasets(recipe, str(folder / "runs"))
    print(prepared.datasets[0].num_samples("train"), flush=True)


def with_pandas(folder: Path) -> None:
    """Read, join, split each file in time, scale by the train rows' statistics, save, and find the windows."""
    import pandas as pd

    ready()
    frames = [pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
    counts = [len(frame) for frame in frames]
    frame = pd.concat(frames, keys=range(len(frames)), names=["file", "row"])
    del frames
    row = frame.index.get_level_values("row").to_numpy()
    total = np.repeat(counts, counts)
    train = row < SPLIT[0] * total
    mean, deviation = frame[train].mean(), frame[train].std(ddof=0)
    scaled = ((frame - mean) / deviation).astype(np.float32)
    np.save(folder / "scaled.npy", scaled.to_numpy())
    starts, first = [], 0
    for count in counts:  # the windows of the train rows; the others likewise
        starts.append(first + np.arange(int(SPLIT[0] * count) - LOOKBACK - HORIZON + 1))
        first += count
    np.save(folder / "windows.npy", np.concatenate(starts))
    print(sum(map(len, starts)), flush=True)


def with_ray_data(folder: Path) -> None:
    """Compute statistics by aggregate, scale by map_batches, write Parquet; without a split, to Ray Data's advantage."""
    import ray
    from ray.data.aggregate import Mean, Std

    ray.init(address="local", include_dashboard=False, logging_level="WARNING", log_to_driver=False)
    ready(first_execution())
    rows = ray.data.read_parquet([str(path) for path in sorted(folder.glob("*.parquet"))])
    names = rows.schema().names
    statistics = rows.aggregate(*(Mean(name) for name in names), *(Std(name, ddof=0) for name in names))

    def scale(batch: dict[str, Any]) -> dict[str, Any]:
        return {name: (values - statistics[f"mean({name})"]) / statistics[f"std({name})"] for name, values in batch.items()}

    rows.map_batches(scale).write_parquet(str(folder / "scaled"))
    print(rows.count(), flush=True)


if __name__ == "__main__":
    {"ours": ours, "pandas": with_pandas, "ray_data": with_ray_data}[sys.argv[1]](Path(sys.argv[2]))
