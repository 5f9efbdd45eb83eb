"""The same grid searched three ways in one run: python tests/benchmarks/search.py [--rows 1000].

decay_rate [0.5, 0.7, 0.9] x epochs [1, 2, 4] for each of three small datasets: 81 trials that consist of 567 epochs.
- shared: `python -m workflows search`: every epoch trained once, one stage a step, processes reused;
- unshared: Ray Tune with a function that trains its whole trial in its process, as one would write it first;
- nested: a TorchTrainer of one worker for each dataset inside each trial; this way runs a few trials, one at a time, and its
  seconds are scaled up to 81 trials and divided by the number of trials that run at a time.
All three train with the same code (workflows.fit) on the same prepared data; Ray and the data are ready before each clock
starts. Prints a table and writes tests/benchmarks/results/search.json.
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
from small import write_small

from cluster.connect import connect, disconnect, quiet, set_environment, write_log_to
from data.prepared.reference import DatasetRef
from workflows.recipe.recipe import load_recipe
from workflows.results.search_result import SearchResult
from workflows.search.context import SearchContext, Variant, variant_name
from workflows.search.proposal import Proposal
from workflows.search.space import grid, parameters_of

GRID = {"decay_rate": [0.5, 0.7, 0.9], "epochs": [1, 2, 4]}
NUM_CONCURRENT = 2


def train_stage(context: SearchContext, config: dict[str, Any], stages: list[int], state: Any) -> tuple[Any, list[float]]:
    """Train some stages of a trial from a state, without a store; return the state after them and all datasets' errors."""
    import torch

    from workflows.fit.group import Group
    from workflows.fit.learner import Learner
    from workflows.relay.errors import errors_of
    from workflows.relay.state import first_model, load_state, state_of

    torch.set_num_threads(1)
    datasets = context.open(context.variant_of(config))
    plan = context.plan(Proposal(0, config), datasets)
    learner = Learner(first_model(plan), plan.model, plan.training, Group())
    if state is not None:
        load_state(learner, state)
    errors: list[float] = []
    for number in stages:
        for epoch in plan.straight_on():
            if epoch.stage == number:
                learner.fit_epoch(datasets[epoch.dataset], plan.rates(epoch), (plan.seed, number, epoch.number))
        errors = [errors_of(learner.evaluate(each, "validation"), each, plan.model).error for each in datasets]
    return state_of(learner), errors


def tune_function(context: SearchContext, config: dict[str, Any]) -> None:
    from ray import tune

    _, errors = train_stage(context, config["proposal"], list(range(3)), None)
    tune.report({"error": sum(errors)})


def train_function(task: dict[str, Any]) -> Any:
    return train_stage(task["scene"], task["config"], [task["stage"]], task["state"])


def shared(recipe: Any, storage: Path) -> tuple[float, SearchResult]:
    from workflows.search.search import search

    started = time.perf_counter()
    result = search(recipe, storage)
    return time.perf_counter() - started, result


def unshared(context: SearchContext, configs: list[dict[str, Any]], scratch: Path) -> tuple[float, list[float]]:
    from ray import tune

    with quiet("ray.tune"):
        started = time.perf_counter()
        results = tune.Tuner(
            tune.with_resources(lambda config: tune_function(context, config), {"CPU": 1}),
            param_space={"proposal": tune.grid_search(configs)},
            tune_config=tune.TuneConfig(trial_dirname_creator=lambda trial: str(trial.trial_id)),
            run_config=tune.RunConfig(name="unshared", storage_path=str(scratch), verbose=0),
        ).fit()
        return time.perf_counter() - started, [result.metrics["error"] for result in results]


def nested(context: SearchContext, configs: list[dict[str, Any]], scratch: Path) -> tuple[float, list[float]]:
    from cluster.placement import Placement
    from workflows.training.workers import trainer_for

    placement, errors = Placement(1, 1, False, 1.0, "benchmark"), []
    with quiet("ray.train.torch"):
        started = time.perf_counter()
        for config in configs:
            state, stage_errors = None, []
            for stage in range(3):
                task = {"scene": context, "config": config, "stage": stage, "state": state}
                state, stage_errors = trainer_for(train_function, task, placement, str(scratch)).fit().return_value
            errors.append(sum(stage_errors))
        return time.perf_counter() - started, errors


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=1000)
    arguments.add_argument("--trainer-trials", type=int, default=2)
    options = arguments.parse_args()
    set_environment()
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        home = Path(folder)
        recipe = load_recipe(write_small(home, rows=options.rows, search=GRID))
        configs = grid(parameters_of(recipe))
        connect(num_cpus=NUM_CONCURRENT)
        write_log_to(home / "ray.log")
        import os

        from workflows.prepare.preparation import prepare_datasets

        prepared = prepare_datasets(recipe, str(home / "runs"))
        sent = tuple(map(DatasetRef.of, prepared.datasets))
        variants = {variant_name({}): Variant(sent, (0, 1, 2))}
        context = SearchContext(recipe.document, home, (), variants, str(home / "runs"), print, 0, False)
        os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
        # The unshared way keeps Tune's defaults, its loggers too; ours switches these off for the process.
        unshared_seconds, unshared_errors = unshared(context, configs, home)
        # The trials that a person would try out: the first and the last of the grid, and some between them.
        last = len(configs) - 1
        some = sorted({round(index * last / max(options.trainer_trials - 1, 1)) for index in range(options.trainer_trials)})
        nested_seconds, nested_errors = nested(context, [configs[index] for index in some], home)
        shared_seconds, result = shared(recipe, home / "runs")
        disconnect()
    for index, error in zip(some, nested_errors, strict=True):
        assert abs(error - unshared_errors[index]) < 1e-4, "the ways do not train the same"
    scaled_seconds = nested_seconds / len(some) * len(configs) / NUM_CONCURRENT
    asked, trained = result.epochs_requested, result.epochs_trained
    grid_of = f"a search over a grid of {len(configs)} trials, three small datasets"
    peer = f"a TorchTrainer for each dataset (from {len(some)} trials)"
    report(
        "search",
        [
            Row(f"{grid_of}: epochs trained", f"{trained}", f"asked for: {asked}", f"{trained / asked:.0%}"),
            compared(grid_of, shared_seconds, unshared_seconds, "a Tune function that shares nothing"),
            compared(grid_of, shared_seconds, scaled_seconds, peer),
        ],
        nested=f"scaled up from {len(some)} trials in {nested_seconds:.1f} s, one at a time",
    )


def compared(what: str, ours: float, peer: float, name: str) -> Row:
    """Return a row of two durations."""
    return Row(what, f"{ours:.0f} s", f"{name}: {peer:,.0f} s", f"{peer / ours:.1f} x")


if __name__ == "__main__":
    main()
