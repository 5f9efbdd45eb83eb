"""Estimate a search: its trials and epochs, how many the store has, and the time for the rest. Ray is not started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cluster.connect import capacity
from data.errors import InputError
from workflows.recipe.recipe import Recipe
from workflows.results.events import ignore
from workflows.results.number_format import counted
from workflows.results.search_result import TrialMetrics, TrialResult
from workflows.search.algorithms import ALGORITHMS, SearchPlan
from workflows.search.context import prepare_context
from workflows.search.proposal import Proposal
from workflows.search.run import Run, SearchTotals
from workflows.search.search import check_trials, placement_of, with_workers
from workflows.search.space import parameters_of
from workflows.search.tree import MAX_COMPARED, Chain, simulate
from workflows.store.store import Store


@dataclass(frozen=True)
class Estimate:
    """The cost of a search.

    `exact` unless its trials depend on missing results; then the numbers are upper bounds, for the longest prefixes that
    could be kept. `seconds` is the time of the fit alone, estimated from the `epochs_measured` epochs of this search in
    the store; None if there are none.
    """

    algorithm: str
    exact: bool
    trials: int
    trials_held: int
    epochs_requested: int
    epochs_distinct: int
    epochs_held: int
    epochs_measured: int
    num_concurrent: int
    seconds: float | None


def estimate(recipe: Recipe, storage: str | Path, num_workers: int | None = None) -> Estimate:
    """Estimate a search on this machine; nothing is started, trained or written.

    Raises InputError for an invalid search, and if the datasets are not prepared.
    """
    store, recipe = Store(str(storage), mend=False), with_workers(recipe, num_workers)
    parameters = parameters_of(recipe, recipe.label)
    placement = placement_of(recipe, check_trials(recipe, parameters), capacity())

    def refuse() -> None:
        raise InputError(
            f"search --dry-run: the datasets are not prepared in {store.address}: run lstm-relay prepare {recipe.label} "
            f"--storage {store.address}"
        )

    context, opened, _ = prepare_context(recipe, parameters, store, None, placement, before=refuse)
    orders = [each.entries for each in context.variants.values()]
    algorithm = ALGORITHMS[recipe.search.algorithm](SearchPlan(recipe, parameters, placement.num_concurrent, orders))
    run = Run(recipe, context, opened, store, algorithm, ignore, SearchTotals())
    chains: dict[int, Chain] = {}
    num_stored = 0

    def known(proposal: Proposal) -> TrialResult:
        nonlocal num_stored
        chains[proposal.number] = run.chain(proposal)
        trial = run.stored_result(proposal)
        num_stored += trial is not None
        return _longest(proposal, chains[proposal.number]) if trial is None else trial

    run.supply.settle(known)
    costs = {key: cost for each in chains.values() for key, cost in zip(each.keys, each.costs, strict=True)}
    records = {key: record for key in costs if (record := store.record(key)) is not None}
    measured = sum(record.seconds for record in records.values())
    work = _work(chains, placement.num_concurrent, set(records))
    return Estimate(
        algorithm=recipe.search.algorithm,
        exact=recipe.search.algorithm in ("grid", "random") or num_stored == len(chains),
        trials=len(chains),
        trials_held=num_stored,
        epochs_requested=sum(len(each.keys) for each in chains.values()),
        epochs_distinct=len(costs),
        epochs_held=len(records),
        epochs_measured=len(records),
        num_concurrent=placement.num_concurrent,
        seconds=work * measured / sum(costs[key] for key in records) if measured else None,
    )


def _longest(proposal: Proposal, chain: Chain) -> TrialResult:
    """Return a result for a trial of a beam that has not run; costlier trials rank first, for an upper bound."""
    stages = proposal.level or 1
    metrics = TrialMetrics(mean_scaled_error=1.0, forgetting=0.0)
    cost = -int(sum(chain.costs))
    return TrialResult(proposal.number, proposal.config, metrics, epochs=(1,) * stages, samples=cost, level=proposal.level)


def _work(chains: dict[int, Chain], num_concurrent: int, stored: set[str]) -> float:
    """Return the time from the start of the search to its end, in the unit of the costs."""
    remaining = {number: each for number, each in chains.items() if set(each.keys) - stored}
    if len(remaining) <= MAX_COMPARED:
        return simulate(remaining, num_concurrent, stored).ends_at
    costs = {key: cost for each in remaining.values() for key, cost in zip(each.keys, each.costs, strict=True)}
    return sum(cost for key, cost in costs.items() if key not in stored) / num_concurrent


def estimate_words(result: Estimate) -> str:
    """Return the text that `search --dry-run` prints."""
    most = "" if result.exact else "at most "
    trials = f"{most}{counted(result.trials, 'trial')} ({result.algorithm}), {result.num_concurrent} at a time"
    epochs = f"{most}{counted(result.epochs_requested, 'epoch')} requested, {result.epochs_distinct} of them different"
    remaining = result.epochs_distinct - result.epochs_held
    words = f"{trials}: {epochs}.\nThe store has {counted(result.trials_held, 'whole trial')} and "
    words += f"{counted(result.epochs_held, 'epoch')}; {most}{remaining} would be trained"
    if not remaining:
        return f"{words}."
    if result.seconds is None:
        return f"{words}. No epoch of this search is in the store: train the recipe once to get an estimate of the time."
    minutes, seconds = divmod(round(result.seconds), 60)
    return f"{words} in {most}{minutes}:{seconds:02d} min by those in the store, plus evaluation and the start of Ray."
