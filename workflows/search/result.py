"""search.json and best.toml: what the trials of a search came to, which are the best, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from data.prepared.encoding import EncodedDataset
from data.records import signed
from workflows.recipe.datasets import movable
from workflows.recipe.recipe import Recipe
from workflows.relay.lookup import trained_stages
from workflows.relay.metrics import mean_of
from workflows.relay.plan import Plan
from workflows.relay.relay import Outcome
from workflows.results.result import result_of, versions
from workflows.search.space import Config, trial_recipe
from workflows.search.trial_order import pareto_front
from workflows.store.store import Store

Facts = dict[str, Any]


def finished_trial(number: int, config: Config, plan: Plan, datasets: Sequence[EncodedDataset], outcome: Outcome) -> Facts:
    """A trial that went to its end: its metrics are those of `train` with its recipe."""
    result = result_of(f"trial {number}", plan, datasets, outcome)
    test = mean_of([each.scaled_error for each in result.test.values()])
    return {
        "number": number,
        "config": config,
        "metrics": {
            "mean_scaled_error": result.mean_scaled_error,
            "forgetting": result.forgetting,
            "backward_transfer": result.backward_transfer,
            "forward_transfer": result.forward_transfer,
            "test_mean_scaled_error": test,
        },
        "key": result.key,
        "stopped_after": None,
        "epochs": [stage.epochs for stage in result.stages],
        "samples": sum(record.samples for stage in outcome.stages for record in stage.epochs),
        "keys": [key for stage in result.stages for key in stage.keys],
    }


def stopped_trial(number: int, config: Config, plan: Plan, result: Facts, store: Store) -> Facts:
    """A trial that the scheduler stopped: its metrics are over the datasets that had their turn, and not comparable.

    Raises NotAnsweredError if the store lacks an epoch of it.
    """
    key, keys = trained_stages(plan, store, result["stages"])
    stages = plan.stages[: result["stages"]]
    counts = [len(each) for each in keys]
    return {
        "number": number,
        "config": config,
        "metrics": {"mean_scaled_error": result["mean_scaled_error"], "forgetting": result["forgetting"]},
        "key": key,
        "stopped_after": plan.datasets[stages[-1].dataset].name,
        "epochs": counts,
        "samples": sum(n * plan.datasets[s.dataset].samples["train"] for n, s in zip(counts, stages, strict=True)),
        "keys": [key for each in keys for key in each],
    }


def failed_trial(number: int, config: Config, why: str) -> Facts:
    """A trial that could not be ended."""
    none: Facts = {"metrics": {}, "key": None, "stopped_after": None, "epochs": [], "samples": 0, "keys": []}
    return {"number": number, "config": config, **none, "failed": why}


def summarise(name: str, recipe: Recipe, trials: Sequence[Facts], trained: Sequence[str], seconds: float) -> Facts:
    """What search.json holds. Best is the lowest first objective of a trial that went to its end; the first of equals."""
    objectives = recipe.search.objectives
    whole = [trial for trial in trials if trial["stopped_after"] is None and "failed" not in trial]
    ranked = sorted(
        (trial for trial in whole if trial["metrics"][objectives[0]] is not None),
        key=lambda trial: (trial["metrics"][objectives[0]], trial["number"]),
    )
    both = ("mean_scaled_error", "forgetting")
    front = pareto_front([[trial["metrics"][each] for each in both] for trial in whole])
    requested = sum(len(trial["keys"]) for trial in trials)
    distinct = len({key for trial in trials for key in trial["keys"]})
    return {
        "name": name,
        "status": "finished",
        "when": time.time(),
        "algorithm": recipe.search.algorithm,
        "scheduler": recipe.search.scheduler,
        "objectives": list(objectives),
        "trials": [{key: value for key, value in trial.items() if key != "keys"} for trial in trials],
        "best": ranked[0]["number"] if ranked else None,
        "pareto": sorted((whole[place]["number"] for place in front), key=lambda n: _error(whole, n)),
        "key": ranked[0]["key"] if ranked else None,
        "kept": [whole[place]["key"] for place in front],  # what `clean` leaves, beside the best
        "epochs_requested": requested,
        "epochs_trained": len(trained),
        "epochs_distinct": distinct,
        "ratio": requested / len(trained) if trained else None,
        "seconds": seconds,
        "versions": versions(),
    }


def _error(trials: Sequence[Facts], number: int) -> float:
    return float(next(trial["metrics"]["mean_scaled_error"] for trial in trials if trial["number"] == number))


def best_document(recipe: Recipe, config: Config, name: str) -> Facts:
    """The recipe of a trial as a document that can be run from any folder."""
    return {**movable(trial_recipe(recipe, config)), "name": name}


def write_search(store: Store, name: str, recipe: Recipe, result: Mapping[str, Any]) -> None:
    """Write search.json, best.toml and the plot into the folder of the search."""
    import tomli_w

    from workflows.search.plot import plot_search

    store.storage.create()
    if result["best"] is not None:
        best = next(trial for trial in result["trials"] if trial["number"] == result["best"])
        document = best_document(recipe, best["config"], f"{name[:90]}-best")
        store.write_run(name, "best.toml", tomli_w.dumps(document).encode())
    store.write_run(name, "search.svg", plot_search(result))
    store.write_run(name, "search.json", signed(result))
