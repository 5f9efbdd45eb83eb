"""A beam over twelve stations of Beijing beside random search and Optuna: python tests/benchmarks/search_beijing.py.

    [--width 4] [--stride 97] [--hidden 8] [--epochs 1 2 3] [--data ../shared/data] [--seed 0] [--storage FOLDER]

3 rates for each change of station x 3 epoch choices for each station, for which a grid would need 9**11 * 3 trials. Random
search and Optuna choose from the same values, share epochs through a store each, and run as many trials as are necessary to
train at least as many epochs as the beam. A function that trains whole trials and shares nothing is measured on two of the
random trials, and scaled to all epochs that the beam's trials consist of. All trials run in this process, one after the
other, without Ray; times are CPU seconds. The defaults are a small model and a window every 97 hours: this takes minutes.
The same command with the same --storage continues; its CPU seconds are then those of the last part. Writes
results/search_beijing.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from common.report import Row, report
from search import train_stage
from searches import search_here
from small import share_prepared

from cluster.trials import TrialPlacement
from workflows.recipe.recipe import Recipe, check_recipe
from workflows.results.search_result import SearchResult
from workflows.search.context import prepare_context
from workflows.search.space import Config, parameters_of
from workflows.store.store import Store

RATES = [0.7, 0.85, 1.0]
Sizes = tuple[Path, int, int, int, list[int]]


def recipe_of(data: Path, stride: int, hidden: int, seed: int, epochs: list[int], **search: Any) -> Recipe:
    """Return a recipe with the built-in recipe's columns, an entry for each station and a space for each change."""
    paths = sorted((data / "beijing").glob("PRSA_Data_*.csv"))
    document = {
        "name": "beijing",
        "seed": seed,
        "data": {
            "time": ["year", "month", "day", "hour"],
            "features": ["PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "RAIN", "WSPM"],
            "targets": ["PM2.5"], "categorical": ["wd"], "calendar": ["hour"], "frequency": "1h", "lookback": 24,
            "horizon": 6, "stride": stride, "missing": "interpolate",
        },
        "datasets": [{"name": path.stem.split("_")[2], "path": str(path)} for path in paths],
        "model": {"hidden_size": hidden},
        "training": {"learning_rate": 1e-2, "batch_size": 32},
        "compute": {"num_workers": 0},
        "search": {"decay_rate": [RATES] * (len(paths) - 1), "epochs": epochs, **search},
    }  # fmt: skip
    return check_recipe(document, data)


def timed(recipe: Recipe, storage: Path) -> tuple[SearchResult, float]:
    """Search; return the result and the CPU seconds."""
    started = time.process_time()
    result = search_here(recipe, storage)
    return result, time.process_time() - started


def as_many_epochs(sizes: Sizes, storage: Path, algorithm: str, epochs: int) -> tuple[SearchResult, float]:
    """Search with more and more trials, on one store, until at least `epochs` epochs are trained."""
    mean = 12 * sum(sizes[-1]) / len(sizes[-1])
    number, seconds = max(int(epochs / mean), 2), 0.0
    while True:
        result, took = timed(recipe_of(*sizes, algorithm=algorithm, num_samples=number), storage)
        seconds += took
        print(f"{algorithm}: {number} trials, {result.epochs_distinct} epochs, {seconds:.0f} s", flush=True)
        if result.epochs_distinct >= epochs:
            return result, seconds
        number += max(int((epochs - result.epochs_distinct) / mean), 1)


def unshared(recipe: Recipe, storage: Path, configs: list[Config]) -> tuple[float, int]:
    """Train whole trials without a store; return the CPU seconds and the number of epochs."""
    placement = TrialPlacement(1, 0, False, "benchmark")
    context, opened, _ = prepare_context(recipe, parameters_of(recipe), Store(str(storage)), None, placement)
    stages = list(range(len(next(iter(opened.values())))))
    started = time.process_time()
    for config in configs:
        train_stage(context, dict(config), stages, None)
    epochs = sum(int(value) for config in configs for name, value in config.items() if name.endswith(".epochs"))
    return time.process_time() - started, epochs


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--width", type=int, default=4)
    arguments.add_argument("--stride", type=int, default=97)
    arguments.add_argument("--hidden", type=int, default=8)
    arguments.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 3])
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data")
    arguments.add_argument("--storage", type=Path)
    options = arguments.parse_args()
    sizes = (options.data.resolve(), options.stride, options.hidden, options.seed, options.epochs)
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        storage = options.storage or Path(folder)
        recipe = recipe_of(*sizes, algorithm="beam", beam_width=options.width)
        placement = TrialPlacement(1, 0, False, "benchmark")
        prepare_context(recipe, parameters_of(recipe), Store(str(storage / "beam")), None, placement)  # prepares
        for other in ("random", "optuna"):
            if not (storage / other / "prepared").exists():
                share_prepared(storage / "beam", storage / other)
        beam, seconds = timed(recipe, storage / "beam")
        epochs = beam.epochs_distinct
        print(f"beam: {len(beam.trials)} trials, {epochs} epochs, {seconds:.0f} s, {error_of(beam)}", flush=True)
        searches = {name: as_many_epochs(sizes, storage / name, name, epochs) for name in ("random", "optuna")}
        configs = [trial.config for trial in searches["random"][0].trials[:2]]
        part, measured = unshared(recipe, storage / "beam", configs)
    scaled = part / measured * beam.epochs_requested
    what = f"a beam of {options.width} over twelve stations, 3 rates x 3 epoch choices each"
    asked = f"its {len(beam.trials)} trials ask for {beam.epochs_requested:,}"
    alone = f"training each trial alone, scaled from {measured} epochs: {scaled:,.0f} s"
    rows = [
        Row(f"{what}: epochs trained", f"{epochs}", asked, f"{epochs / beam.epochs_requested:.0%}"),
        Row(f"{what}: CPU seconds", f"{seconds:.0f} s", alone, f"{scaled / seconds:.1f} x"),
    ]
    for name, (other, took) in searches.items():
        beam_error, peer_error = error_of(beam), error_of(other)
        spent = f"{name}, {len(other.trials)} trials, {other.epochs_distinct} epochs, {took:.0f} s"
        beside = f"{spent}: {peer_error[0]:.4f} ({peer_error[1]:.4f})"
        result = f"{beam_error[0] / peer_error[0] - 1:+.1%}"
        shown = f"{beam_error[0]:.4f} ({beam_error[1]:.4f})"
        reached = beam_error[0] < peer_error[0]
        rows.append(Row(f"{what}: lowest mean scaled error (test)", shown, beside, result, "lower", reached))
    sample = {"stride": options.stride, "hidden": options.hidden, "seed": options.seed, "epochs": options.epochs}
    report("search_beijing", rows, **sample)


def error_of(result: SearchResult) -> tuple[float, float]:
    """Return the mean scaled error of the best trial on the validation and on the test split."""
    assert result.best_trial is not None
    metrics = result.best_trial.metrics
    assert metrics.mean_scaled_error is not None
    assert metrics.test_mean_scaled_error is not None
    return metrics.mean_scaled_error, metrics.test_mean_scaled_error


if __name__ == "__main__":
    main()
