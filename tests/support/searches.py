"""Results of searches for tests, and searches without Ray: all trials in this process, one after the other.

Run as a program with the folder of small.toml and a storage, it prints the address of each trained epoch, then the result.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workflows.recipe.recipe import Recipe, load_recipe
from workflows.relay.events import EpochDone
from workflows.results.events import Event, ignore
from workflows.results.search_result import SearchResult, TrialResult


def search_result(trials: Sequence[TrialResult], **fields: Any) -> SearchResult:
    """Return the result of a search named "s" with these trials; the default is a grid."""
    whole: dict[str, Any] = {
        "name": "s",
        "status": "finished",
        "when": 1.0,
        "algorithm": "grid",
        "scheduler": "none",
        "objectives": ("mean_scaled_error",),
        "trials": tuple(trials),
        "best": None,
        "pareto": (),
        "key": None,
        "kept": (),
        "epochs_requested": 10,
        "epochs_trained": 10,
        "epochs_distinct": 10,
        "ratio": 1.0,
        "seconds": 1.0,
    }
    return SearchResult(**{**whole, **fields})


def search_here(recipe: Recipe, storage: Path, watch: Callable[[Event], None] = ignore) -> SearchResult:
    """Return the result of `search` with all trials in this process; `watch` receives the trained epochs."""
    import torch

    from cluster.trials import TrialPlacement
    from workflows.search.algorithms import ALGORITHMS, SearchPlan
    from workflows.search.context import prepare_context
    from workflows.search.result import summarise
    from workflows.search.run import Run, SearchTotals
    from workflows.search.space import parameters_of
    from workflows.search.walks import Walks
    from workflows.store.store import Store

    started, store = time.perf_counter(), Store(str(storage))
    parameters = parameters_of(recipe)
    context, opened, _ = prepare_context(recipe, parameters, store, None, TrialPlacement(1, 0, False, "a test"))
    orders = [each.entries for each in context.variants.values()]
    algorithm = ALGORITHMS[recipe.search.algorithm](SearchPlan(recipe, parameters, 1, orders))
    totals = SearchTotals()
    run = Run(recipe, context, opened, store, algorithm, watch, totals)
    run.look_up()
    torch.set_num_threads(1)  # as in a trial's own process
    walks = Walks(dataclasses.replace(context, emit=run.record_event))
    while (proposal := run.supply.next()) is not None:
        walks.begin(proposal)
        report = walks.next_stage()
        while not (report.complete or report.failed):
            report = walks.next_stage()
        assert run.record_end(proposal, report)
    assert run.supply.done
    trials = [trial for _, trial in sorted(totals.trials.items())]
    seconds = time.perf_counter() - started
    return summarise("s", recipe, trials, len(totals.epochs), len(totals.trained), seconds, [])


def tell(event: Event) -> None:
    """Print the address of a trained epoch."""
    if isinstance(event, EpochDone):
        print(event.key, flush=True)


if __name__ == "__main__":
    folder, storage = map(Path, sys.argv[1:])
    print(json.dumps(search_here(load_recipe(folder / "small.toml"), storage, tell).to_json()), flush=True)
