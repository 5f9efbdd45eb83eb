"""Run a search: collect results from the store, and record those of the trials that Ray Tune runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.ray_compat import free_nodes
from cluster.recovery import free_words
from cluster.telling import TELL_S
from data.prepared.encoding import EncodedDataset
from workflows.recipe.recipe import Recipe
from workflows.relay.events import EpochDone, RunEvent, Waiting
from workflows.relay.lookup import after_stages, finished
from workflows.relay.plan import Plan
from workflows.relay.relay import NotAnsweredError, Outcome
from workflows.results.events import LevelDone, StoredTrials, TrialDone, TrialLost, Watch
from workflows.results.search_result import TrialResult
from workflows.search.context import SearchContext
from workflows.search.proposal import Proposal
from workflows.search.result import failed_trial, trial_result
from workflows.search.stage_report import StageReport
from workflows.search.supply import Algorithm, Supply
from workflows.search.tree import MAX_COMPARED, Chain
from workflows.store.store import Store


@dataclass
class SearchTotals:
    """The results of a search so far: trials by number, the keys of their epochs, and of the epochs it trained."""

    trials: dict[int, TrialResult] = field(default_factory=dict)
    epochs: set[str] = field(default_factory=set)
    trained: list[str] = field(default_factory=list)


class Run:
    """A search that is under way."""

    def __init__(
        self,
        recipe: Recipe,
        context: SearchContext,
        opened: Mapping[str, Sequence[EncodedDataset]],
        store: Store,
        algorithm: Algorithm,
        watch: Watch,
        totals: SearchTotals,
    ):
        self.recipe, self.context, self.opened, self.store = recipe, context, opened, store
        self.totals, self.watch = totals, watch
        self.supply = Supply(algorithm, self.chain, self.note_extended)
        self.idle_since: float | None = time.monotonic()  # since when no trial is known to train; None: one trains
        self.plans: dict[int, Plan] = {}  # a cache for trials that have not ended; each plan is needed several times

    def plan(self, proposal: Proposal) -> tuple[Plan, Sequence[EncodedDataset]]:
        """Return the plan of a trial, and its datasets."""
        datasets = self.opened[self.context.variant_of(proposal.config)]
        plan = self.plans.get(proposal.number)
        if plan is None:
            plan = self.context.plan(proposal, datasets)
            if len(self.plans) < MAX_COMPARED:  # of 7 kB each; a grid may have 10,000 trials
                self.plans[proposal.number] = plan
        return plan, datasets[: proposal.level]

    def chain(self, proposal: Proposal) -> Chain:
        """Return the planned epochs of a trial."""
        return chain_of(self.plan(proposal)[0], self.context.variant_of(proposal.config))

    def note_extended(self, proposals: Sequence[Proposal]) -> None:
        """Emit which trials a beam extends."""
        parents = dict.fromkeys(each.parent for each in proposals if each.parent is not None)
        if parents and proposals[0].level is not None:
            self.watch(LevelDone(proposals[0].level - 1, tuple(self.supply.ended[number] for number in parents)))

    def look_up(self) -> bool:
        """Collect the trials that are completely in the store; returns whether these are all."""
        if self.recipe.search.scheduler != "none":  # the scheduler decides again which trials to stop
            return False
        all_known = self.supply.settle(self.stored_result)
        if self.supply.ended:
            self.watch(StoredTrials(len(self.supply.ended), self.supply.algorithm.num_trials))
        return all_known

    def stored_result(self, proposal: Proposal) -> TrialResult | None:
        """Return the result of a trial if the store has all its epochs; otherwise None."""
        plan, datasets = self.plan(proposal)
        try:
            return self._note(proposal, plan, datasets, self._outcome(proposal, plan))
        except NotAnsweredError as error:
            chain = self.supply.chains[proposal.number] = chain_of(plan, self.context.variant_of(proposal.config))
            self.supply.trained.update(chain.keys[: error.held])
            return None

    def _outcome(self, proposal: Proposal, plan: Plan) -> Outcome:
        level = proposal.level
        if level is None or level == len(self.opened[self.context.variant_of(proposal.config)]):
            return finished(plan, self.store)
        return after_stages(plan, self.store, level)

    def _note(self, proposal: Proposal, plan: Plan, datasets: Sequence[EncodedDataset], outcome: Outcome) -> TrialResult:
        self.totals.epochs.update(record.key for stage in outcome.stages for record in stage.epochs)
        self.totals.trials[proposal.number] = trial_result(proposal, plan, datasets, outcome)
        self.plans.pop(proposal.number, None)
        return self.totals.trials[proposal.number]

    def record_end(self, proposal: Proposal, report: StageReport) -> bool:
        """Record a trial that is finished, was stopped by the scheduler or failed.

        Returns False if the store lacks part of the trial, or its end is unexplained: it has to run again.
        """
        trial: TrialResult | None
        if report.failed:
            trial = self.totals.trials[proposal.number] = failed_trial(proposal, report.failed)
            self.plans.pop(proposal.number, None)
        elif report.complete:
            trial = self.stored_result(proposal)
        elif self.recipe.search.scheduler == "none" or not report.stages:
            trial = None
        else:
            plan, datasets = self.plan(proposal)
            try:
                trial = self._note(proposal, plan, datasets, after_stages(plan, self.store, report.stages))
            except NotAnsweredError:
                trial = None
        if trial is not None:
            self.supply.record_final(trial)
            self.watch(TrialDone(trial, report.trained))
        return trial is not None

    def record_loss(self, number: int) -> None:
        """Record that the process of a trial was lost."""
        self.idle_since = self.idle_since or time.monotonic()
        self.watch(TrialLost(number))

    def record_event(self, event: RunEvent) -> None:
        """Record an event of the trials."""
        self.idle_since = None
        if isinstance(event, EpochDone):
            self.totals.trained.append(event.key)
            self.supply.trained.add(event.key)
        self.watch(event)

    def report_idle(self, _waited_s: float) -> None:
        """Report that no trial has been training for TELL_S seconds or more."""
        idle_s = time.monotonic() - (self.idle_since or float("inf"))
        if idle_s >= TELL_S:
            words = f"trials start or wait for a core since {idle_s:.0f} s: {free_words(free_nodes())} free"
            self.watch(Waiting(words))


def chain_of(plan: Plan, data: str = "") -> Chain:
    """Return the epochs of a plan, if no stage ends early."""
    epochs = list(plan.straight_on())
    costs = tuple(float(plan.datasets[epoch.dataset].samples["train"]) for epoch in epochs)
    return Chain(tuple(epoch.key for epoch in epochs), costs, data)
