"""search.json: the results of all trials, the best ones, and their cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data.errors import InputError
from data.prepared.encoding import EncodedDataset
from data.signed import signed
from workflows.recipe.datasets import movable
from workflows.recipe.recipe import Recipe
from workflows.relay.metrics import mean_of
from workflows.relay.plan import Plan
from workflows.relay.relay import Outcome
from workflows.results.result import metrics_after, result_of, versions
from workflows.results.search_result import SearchResult, TrialMetrics, TrialResult
from workflows.results.stored_runs import stored_search
from workflows.search.pareto import pareto_front
from workflows.search.proposal import Proposal
from workflows.search.space import Config, trial_recipe
from workflows.store.run_record import MAX_COPIES
from workflows.store.store import Store


def trial_result(proposal: Proposal, plan: Plan, datasets: Sequence[EncodedDataset], outcome: Outcome) -> TrialResult:
    """Return the result of a trial.

    A trial that trained and tested everything in its plan equals `train` with its recipe. The metrics of a trial that
    ended earlier, or that the guard stopped, cover the datasets it reached, and are not comparable.
    """
    complete = bool(outcome.test) and not outcome.stopped
    stages, metrics = outcome.stages, metrics_after(plan, outcome)
    if complete:
        result = result_of(f"trial {proposal.number}", plan, datasets, outcome)
        test = mean_of([each.scaled_error for each in result.test.values()])
        error, forgotten = result.mean_scaled_error, result.forgetting
        metrics = TrialMetrics(error, forgotten, result.backward_transfer, result.forward_transfer, test)
    return TrialResult(
        number=proposal.number,
        config=dict(proposal.config),
        metrics=metrics,
        key=outcome.key,
        stopped_after=None if complete else plan.datasets[stages[-1].dataset].name,
        epochs=tuple(len(stage.epochs) for stage in stages),
        samples=sum(record.samples for stage in stages for record in stage.epochs),
        level=proposal.level,
        parent=proposal.parent,
    )


def failed_trial(proposal: Proposal, reason: str) -> TrialResult:
    """Return a trial that could not finish."""
    return TrialResult(proposal.number, dict(proposal.config), failed=reason, level=proposal.level, parent=proposal.parent)


def summarise(
    name: str,
    recipe: Recipe,
    trials: Sequence[TrialResult],
    distinct: int,
    trained: int,
    seconds: float,
    prepared: list[str],
) -> SearchResult:
    """Return the result of a search.

    The best trial has the lowest first objective of those that trained on all datasets; ties go to the first one.
    `distinct` counts the epochs of all trials, each once, `trained` those that this search trained.
    """
    search = recipe.search
    complete = [trial for trial in trials if trial.complete]
    ranked = sorted(complete, key=lambda trial: (trial.metrics.objective(search.objectives[0]), trial.number))
    points = [tuple(trial.metrics.objective(each) for each in ("mean_scaled_error", "forgetting")) for trial in complete]
    front = sorted(
        (complete[index] for index in pareto_front(points)), key=lambda t: t.metrics.objective("mean_scaled_error")
    )
    requested = sum(sum(trial.epochs) for trial in trials)
    return SearchResult(
        name=name,
        status="finished",
        when=time.time(),
        algorithm=search.algorithm,
        scheduler=search.scheduler,
        objectives=tuple(search.objectives),
        trials=tuple(trials),
        best=ranked[0].number if ranked else None,
        pareto=tuple(trial.number for trial in front),
        key=ranked[0].key if ranked else None,
        kept=tuple(trial.key for trial in front if trial.key is not None),  # `clean` keeps these and the best
        epochs_requested=requested,
        epochs_trained=trained,
        epochs_distinct=distinct,
        ratio=requested / trained if trained else None,
        seconds=seconds,
        versions=versions(),
        prepared=tuple(prepared),
        beam_width=search.beam_width if search.algorithm == "beam" else None,
    )


def best_document(recipe: Recipe, config: Config, name: str) -> dict[str, Any]:
    """Return the recipe of a trial as a document that works from any folder."""
    return {**movable(trial_recipe(recipe, config)), "name": name}


def write_search(store: Store, name: str, recipe: Recipe, result: SearchResult) -> None:
    """Write search.json in one step, then the copies for people: best.toml and the plot.

    If two searches have the same name, all files are those of the last writer, as with runs.
    """
    import tomli_w

    if result.best_trial is not None:
        document = best_document(recipe, result.best_trial.config, f"{name[:90]}-best")
        result = replace(result, best_recipe=tomli_w.dumps(document))
    store.storage.create()
    store.write_run(name, "search.json", signed(result.to_json()))
    for _ in range(MAX_COPIES):
        _write_copies(store, name, result)
        stored = None
        with contextlib.suppress(InputError, OSError):
            stored = stored_search(store, name)
        if stored is None or (stored.when, stored.best_recipe) == (result.when, result.best_recipe):
            return
        result = stored


def _write_copies(store: Store, name: str, result: SearchResult) -> None:
    from workflows.search.plot import plot_search

    if result.best_recipe is not None:
        store.write_run(name, "best.toml", result.best_recipe.encode())
    else:
        store.storage.remove(f"runs/{name}/best.toml")  # of an earlier search
    store.write_run(name, "search.svg", plot_search(result))
