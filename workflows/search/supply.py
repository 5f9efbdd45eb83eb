"""The remaining trials of a search: results are taken from the store, other trials are handed out one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Protocol

from workflows.results.search_result import TrialResult
from workflows.search.proposal import Proposal
from workflows.search.tree import MAX_COMPARED, Chain, next_trial


class Algorithm(Protocol):
    """Decides the trials of a search from the results so far; runs nothing."""

    @property
    def num_trials(self) -> int:
        """Return the largest number of trials."""

    def more(self, ended: Mapping[int, TrialResult]) -> list[Proposal]:
        """Return new trials; none if it must wait for results, or if all were proposed."""


class Listed:
    """Trials that are known from the start: a grid, or random draws."""

    def __init__(self, proposals: Sequence[Proposal]):
        self.left = list(proposals)
        self.num_trials = len(proposals)

    def more(self, ended: Mapping[int, TrialResult]) -> list[Proposal]:  # noqa: ARG002
        """Return all of them, once."""
        left, self.left = self.left, []
        return left


class Supply:
    """The trials of one search: waiting, running, or ended."""

    def __init__(
        self,
        algorithm: Algorithm,
        chain_of: Callable[[Proposal], Chain],
        proposed: Callable[[Sequence[Proposal]], None] = lambda proposals: None,
    ):
        self.algorithm, self.chain_of, self.proposed = algorithm, chain_of, proposed
        self.waiting: dict[int, Proposal] = {}
        self.running: dict[int, Proposal] = {}
        self.ended: dict[int, TrialResult] = {}
        self.chains: dict[int, Chain] = {}
        self.trained: set[str] = set()  # keys of epochs that are known to be in the store
        self.open_data = ""  # data of the trial that ended last: its process runs the next one

    def next(self) -> Proposal | None:
        """Return the trial to start now; None if none can start before another one ends."""
        if not self.waiting and not self._propose():
            return None
        if len(self.waiting) == 1:
            number = next(iter(self.waiting))
        else:
            running = [self._chain(each) for each in self.running.values()]
            first = islice(self.waiting.items(), MAX_COMPARED)
            chains = {number: self._chain(each) for number, each in first}
            number = next_trial(chains, self.trained, running, self.open_data)
        self.running[number] = self.waiting.pop(number)
        return self.running[number]

    @property
    def idle(self) -> bool:
        """Return whether no trial can start now."""
        return not self.waiting and not self._propose()

    @property
    def done(self) -> bool:
        """Return whether all trials have ended."""
        return not self.running and self.idle

    def record_final(self, trial: TrialResult) -> None:
        """Record the final result of a trial; later results are ignored."""
        proposal = self.running.pop(trial.number)
        self.ended[trial.number] = trial
        if trial.number in self.chains:
            self.open_data = self._chain(proposal).data
            del self.chains[trial.number]

    def put_back(self, number: int) -> None:
        """Return a lost trial to the waiting ones, before any other is proposed."""
        self.waiting[number] = self.running.pop(number)

    def settle(self, known: Callable[[Proposal], TrialResult | None]) -> bool:
        """Take known results of all trials, including those proposed from them; returns whether all were known."""
        unknown: dict[int, Proposal] = {}
        while self.waiting or self._propose():
            number, proposal = self.waiting.popitem()
            trial = known(proposal)
            if trial is None:
                unknown[number] = proposal
            else:
                self.ended[number] = trial
        self.waiting = dict(sorted(unknown.items()))
        return not unknown

    def _propose(self) -> bool:
        proposals = self.algorithm.more(self.ended)
        self.waiting = {proposal.number: proposal for proposal in proposals}
        if proposals:
            self.proposed(proposals)
        return bool(self.waiting)

    def _chain(self, proposal: Proposal) -> Chain:
        if proposal.number not in self.chains:
            self.chains[proposal.number] = self.chain_of(proposal)
        return self.chains[proposal.number]
