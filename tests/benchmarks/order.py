"""Whether the suggested order ends at a lower error: six generated datasets a stream, in several orders.

    python tests/benchmarks/order.py [STREAMS]

Each dataset is y[t+1] = a y[t] + b x[t] + a wave + noise, with a, b and the wave's period drawn at random (even streams), or
near one of three kinds (odd streams). Plain sequence, 3 epochs each, rate 0.01 times 0.8 at each change. Printed: the mean
error at the end, relative to the naive forecast, divided by its mean over six random orders of the same stream. About 10 s a
stream.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[level]) for level in (2, 0)] + [str(Path(__file__).parents[1] / "support")]

import numpy as np
import pandas as pd
from common.report import Row, report
from data_cases import source_of, write_csv
from helpers import outcome, plan_of, prepare_in_process, walk

from data.prepared.distances import distances_between
from workflows.prepare.order import mean_distances, suggest_order
from workflows.results.result import result_of

NUM_DATASETS = 6
NUM_RANDOM = 6


def series(random: np.random.Generator, a: float, b: float, period: float, rows: int = 500) -> pd.DataFrame:
    x, y, noise = np.zeros(rows), np.zeros(rows), random.normal(size=(rows, 2))
    for t in range(1, rows):
        x[t] = 0.9 * x[t - 1] + 0.4 * noise[t, 0]
        y[t] = a * y[t - 1] + b * x[t - 1] + 0.5 * np.sin(2 * np.pi * t / period) + 0.2 * noise[t, 1]
    return pd.DataFrame({"y": y, "x": x})


def dynamics(random: np.random.Generator, stream: int) -> list[np.ndarray]:
    kinds = [np.array([random.uniform(0.3, 0.9), random.uniform(-1, 1), random.uniform(8, 40)]) for _ in range(NUM_DATASETS)]
    if stream % 2 == 0:
        return kinds
    return [kinds[k % 3] * (1 + 0.05 * random.normal(size=3)) for k in range(NUM_DATASETS)]


def orders(distances: np.ndarray, names: list[str], random: np.random.Generator) -> dict[str, list[int]]:
    suggested = suggest_order(distances, names)
    medoid, *others = (int(index) for index in mean_distances(distances).argsort())
    return {
        "suggested": suggested,
        "suggested, reversed": suggested[::-1],
        "medoid first, then to the least typical": [medoid, *others],
        "medoid first, then to the most typical": [medoid, *others[::-1]],
        **{f"random {k}": random.permutation(len(names)).tolist() for k in range(NUM_RANDOM)},
    }


def measure(stream: int, folder: Path) -> dict[str, float]:
    """Return the error at the end of each order, divided by the mean error of random orders."""
    random = np.random.default_rng(stream)
    names = [f"d{k}" for k in range(NUM_DATASETS)]
    settings = {"features": ["y", "x"], "targets": ["y"], "lookback": 16, "horizon": 4}
    sources = [
        source_of(write_csv(series(random, *kind), folder / f"{name}.csv"), name=name, **settings)
        for name, kind in zip(names, dynamics(random, stream), strict=True)
    ]
    datasets = prepare_in_process(sources, folder / "prepared")
    errors = {}
    for label, order in orders(distances_between([each.prepared for each in datasets]), names, random).items():
        turned = [datasets[index] for index in order]
        training = {"batch_size": 32, "learning_rate": 0.01, "decay_rate": 0.8}
        plan = plan_of(turned, [3] * NUM_DATASETS, {"hidden_size": 16}, **training)
        walk(plan, turned, folder / "store")
        errors[label] = result_of(label, plan, turned, outcome(plan, folder / "store")).mean_scaled_error
    usual = np.mean([error for label, error in errors.items() if label.startswith("random")])
    return {label: error / usual for label, error in errors.items() if not label.startswith("random")}


def main() -> None:
    streams = []
    for stream in range(int(sys.argv[1]) if len(sys.argv) > 1 else 20):
        with tempfile.TemporaryDirectory() as scratch:
            streams.append(measure(stream, Path(scratch)))
    rows = []
    for label in streams[0]:
        ratios = np.array([each[label] for each in streams])
        error = ratios.std(ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else 0.0
        better = f"better in {(ratios < 1).sum()} of {len(ratios)} streams"
        what = f"order {label}: error at the end, of random orders'"
        rows.append(Row(what, f"{ratios.mean():.2f} +- {error:.2f}", "random orders: 1", better))
    report("order", rows)


if __name__ == "__main__":
    main()
