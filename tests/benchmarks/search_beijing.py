"""A beam over twelve stations of Beijing beside random search and Optuna: python tests/benchmarks/search_beijing.py.

    [--width 4] [--stride 49] [--hidden 16] [--data ../shared/data] [--seed 0] [--storage FOLDER]

3 rates for each change of station x 3 epoch choices for each station, which a grid would need 9**11 * 3 trials for. Random
search and Optuna choose from the same values, share epochs through a store of their own, and get as many trials as it takes
to train at least as many epochs as the beam. A Tune function that shares nothing is measured on a few of the random trials,
one at a time, and scaled to all epochs that the beam's trials ask for. By default with a small model and a window each 49
hours, so that all of it takes minutes; the same command with the same --storage goes on. Writes results/search_beijing.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from common.report import Row, report
from search import train_stage

from cluster.connect import connect, disconnect, quiet, set_environment, write_log_to
from workflows.recipe.recipe import Recipe, check_recipe
from workflows.results.search_result import SearchResult
from workflows.search.scene import Scene

RATES, EPOCHS = [0.7, 0.85, 1.0], [1, 2, 4]
NUM_CONCURRENT = 2


def recipe_of(data: Path, stride: int, hidden: int, seed: int, **search: Any) -> Recipe:
    """The built-in recipe's columns, with an entry for each station and a space for each change."""
    paths = sorted((data / "beijing").glob("PRSA_Data_*.csv"))
    document = {
        "name": "beijing",
        "seed": seed,
        "data": {
            "time": ["year", "month", "day", "hour"],
            "features": ["PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "RAIN", "WSPM"],
            "targets": ["PM2.5"], "categorical": ["wd"], "calendar": ["hour"], "frequency": "1h", "lookback": 48,
            "horizon": 12, "stride": stride, "missing": "interpolate",
        },
        "datasets": [{"name": path.stem.split("_")[2], "path": str(path)} for path in paths],
        "model": {"hidden_size": hidden},
        "training": {"learning_rate": 3e-3, "batch_size": 32},
        "search": {"decay_rate": [RATES] * (len(paths) - 1), "epochs": EPOCHS, **search},
    }  # fmt: skip
    return check_recipe(document, data)


def run(recipe: Recipe, storage: Path, name: str) -> tuple[SearchResult, float]:
    from workflows.search.search import search

    started = time.perf_counter()
    return search(recipe, storage, name), time.perf_counter() - started


def as_many_epochs(recipe: Recipe, storage: Path, name: str, epochs: int, first: int) -> tuple[SearchResult, float]:
    """The search with as many trials as train `epochs` epochs: two more at a time, each in the store of those before."""
    number, seconds = first, 0.0
    while True:
        now = recipe.search.model_copy(update={"num_samples": number})
        document = {**recipe.document, "search": {**recipe.document["search"], "num_samples": number}}
        again = check_recipe(document, recipe.folder)
        assert again.search == now
        result, took = run(again, storage, name)
        seconds += took
        print(f"{name}: {number} trials, {result.epochs_distinct} epochs, {seconds:.0f} s", flush=True)
        if result.epochs_distinct >= epochs:
            return result, seconds
        number += max(2, (epochs - result.epochs_distinct) // 28)


def unshared(recipe: Recipe, storage: Path, configs: list[Any], scratch: Path) -> tuple[float, int]:
    """Seconds and epochs of a Tune function that trains whole trials, one at a time."""
    from ray import tune

    from cluster.trials import TrialPlacement
    from workflows.search.scene import set_scene
    from workflows.search.space import parameters_of
    from workflows.store.store import Store

    placement = TrialPlacement(1, 0, False, "benchmark")
    scene, opened, _ = set_scene(recipe, parameters_of(recipe), Store(str(storage)), None, placement)
    num_stages = len(next(iter(opened.values())))

    def trial(config: dict[str, Any], scene: Scene = scene) -> None:
        _, errors = train_stage(scene, config["proposal"], list(range(num_stages)), None)
        tune.report({"error": sum(errors) / len(errors)})

    epochs = sum(int(value) for config in configs for name, value in config.items() if name.endswith(".epochs"))
    with quiet("ray.tune"):
        started = time.perf_counter()
        tune.Tuner(
            tune.with_resources(trial, {"CPU": 2}),
            param_space={"proposal": tune.grid_search([dict(config) for config in configs])},
            tune_config=tune.TuneConfig(trial_dirname_creator=lambda trial: str(trial.trial_id)),
            run_config=tune.RunConfig(name=f"unshared-{time.time_ns()}", storage_path=str(scratch), verbose=0),
        ).fit()
        return time.perf_counter() - started, epochs


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--width", type=int, default=4)
    arguments.add_argument("--stride", type=int, default=49)
    arguments.add_argument("--hidden", type=int, default=16)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--unshared-trials", type=int, default=2)
    arguments.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data")
    arguments.add_argument("--storage", type=Path)
    given = arguments.parse_args()
    set_environment()
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        storage = given.storage or Path(folder)
        sizes = (given.data.resolve(), given.stride, given.hidden, given.seed)
        beam_recipe = recipe_of(*sizes, algorithm="beam", beam_width=given.width)
        connect(num_cpus=NUM_CONCURRENT)
        write_log_to(Path(folder) / "ray.log")
        os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
        from small import share_prepared

        from workflows.prepare.preparation import prepare_datasets

        prepare_datasets(beam_recipe, str(storage / "beam"))
        for other in ("random", "optuna"):
            if not (storage / other / "prepared").exists():
                share_prepared(storage / "beam", storage / other)
        beam, beam_seconds = run(beam_recipe, storage / "beam", "beam")
        epochs = beam.epochs_distinct
        print(f"beam: {len(beam.trials)} trials, {epochs} epochs, {beam_seconds:.0f} s", flush=True)
        found = {"beam": (beam, beam_seconds)}
        first = max(epochs // 28, 1)
        for algorithm in ("random", "optuna"):
            recipe = recipe_of(*sizes, algorithm=algorithm)
            found[algorithm] = as_many_epochs(recipe, storage / algorithm, algorithm, epochs, first)
        configs = [trial.config for trial in found["random"][0].trials[: given.unshared_trials]]
        seconds, measured = unshared(beam_recipe, storage / "beam", configs, Path(folder))
        disconnect()
    scaled = seconds / measured * beam.epochs_requested / NUM_CONCURRENT
    what = f"twelve stations, 3 rates x 3 epoch choices each, beam of {given.width}"
    rows = [
        Row(
            f"{what}: epochs trained",
            f"{epochs}",
            f"its {len(beam.trials)} trials ask for {beam.epochs_requested:,}",
            f"{epochs / beam.epochs_requested:.0%}",
        ),
        Row(
            f"{what}: time",
            f"{beam_seconds:.0f} s",
            f"a Tune function that shares nothing, scaled from {measured} epochs: {scaled:,.0f} s",
            f"{scaled / beam_seconds:.1f} x",
        ),
    ]
    for algorithm in ("random", "optuna"):
        other, took = found[algorithm]
        ours, theirs = error_of(beam), error_of(other)
        rows.append(
            Row(
                f"{what}: lowest mean scaled error (test)",
                f"{ours[0]:.4f} ({ours[1]:.4f})",
                f"{algorithm}, {len(other.trials)} trials, {other.epochs_distinct} epochs, {took:.0f} s: "
                f"{theirs[0]:.4f} ({theirs[1]:.4f})",
                f"{ours[0] / theirs[0] - 1:+.1%}",
                "lower",
                ours[0] < theirs[0],
            )
        )
    report("search_beijing", rows, stride=given.stride, hidden=given.hidden, seed=given.seed)


def error_of(result: SearchResult) -> tuple[float, float]:
    """Mean scaled error on the validation and on the test split of the best trial."""
    assert result.best_trial is not None
    metrics = result.best_trial.metrics
    assert metrics.mean_scaled_error is not None
    assert metrics.test_mean_scaled_error is not None
    return metrics.mean_scaled_error, metrics.test_mean_scaled_error


if __name__ == "__main__":
    main()
