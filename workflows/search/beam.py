"""Beam search: after each dataset the best prefixes are extended by every choice for the next one, without Ray.

With d datasets, c choices for each and a beam of w it trains about w * c * d stages; a grid trains c ** d. The trials of
a level depend only on the results of the level before, so they are the same however many run at a time, and an
interrupted search continues with the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflows.results.search_result import TrialResult
from workflows.search.pareto import crowding, fronts
from workflows.search.proposal import Proposal
from workflows.search.space import Config


def best_prefixes(trials: Sequence[TrialResult], width: int, objectives: Sequence[str]) -> list[TrialResult]:
    """Return at most `width` trials of a level to extend, best first.

    With one objective, the lowest ones. With two, the Pareto front, then the front of the rest; if a front does not fit,
    its least crowded trials. Ties go to the trial with fewer samples, then to the first. Failed trials, and trials that
    the guard stopped within their level, cannot be extended.
    """
    usable = [t for t in trials if t.metrics.mean_scaled_error is not None and len(t.epochs) == t.level]
    usable.sort(key=lambda trial: (trial.samples, trial.number))
    points = [tuple(trial.metrics.objective(name) for name in objectives) for trial in usable]
    if len(objectives) == 1:
        order = sorted(range(len(points)), key=lambda index: points[index])  # stable: ties keep the order by cost
        return [usable[index] for index in order[:width]]
    kept: list[int] = []
    for front in fronts(points):
        room = width - len(kept)
        if not room:
            break
        if len(front) > room:
            distances = crowding([points[index] for index in front])
            front = [front[number] for number in sorted(range(len(front)), key=lambda number: -distances[number])[:room]]
        kept += sorted(front, key=lambda index: points[index])
    return [usable[index] for index in kept]


def extend(parents: Sequence[TrialResult], level: int, choices: Sequence[Config], first_number: int) -> list[Proposal]:
    """Return the trials of a level: each parent with each choice for its dataset, numbered from `first_number`."""
    children = [(parent, {**parent.config, **choice}) for parent in parents for choice in choices]
    return [Proposal(first_number + n, config, level, parent.number) for n, (parent, config) in enumerate(children)]


@dataclass
class Beam:
    """The trials of a beam search, level by level. `choices` has, for each dataset, the values it adds to a trial."""

    choices: Sequence[Sequence[Config]]
    width: int
    objectives: Sequence[str]
    levels: list[list[Proposal]] = field(default_factory=list)

    @property
    def num_trials(self) -> int:
        """Return the number of trials if every level fills the beam."""
        count, total = 1, 0
        for choices in self.choices:
            count = min(count, self.width) * len(choices)
            total += count
        return total

    def more(self, ended: Mapping[int, TrialResult]) -> list[Proposal]:
        """Return the trials of the next level; none while the last one is running, or after the last dataset."""
        if not self.levels:
            self.levels.append([Proposal(number, config, 1) for number, config in enumerate(self.choices[0])])
            return self.levels[-1]
        last = self.levels[-1]
        if len(self.levels) == len(self.choices) or any(proposal.number not in ended for proposal in last):
            return []
        parents = best_prefixes([ended[proposal.number] for proposal in last], self.width, self.objectives)
        level = len(self.levels) + 1
        proposals = extend(parents, level, self.choices[level - 1], last[-1].number + 1)
        if proposals:
            self.levels.append(proposals)
        return proposals
