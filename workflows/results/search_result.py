"""A search's result as values: what search.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.records import from_json, to_json

FORMAT = 1  # raised when a key of search.json changes its meaning
WORST = 1e30  # an objective that is not known; not infinity, of which ASHA's percentile would make NaN


@dataclass(frozen=True)
class TrialMetrics:
    """Errors relative to naive over the datasets that a trial trained on; None where they were not measured.

    The last three are those of trials that trained on all datasets.
    """

    mean_scaled_error: float | None = None
    forgetting: float | None = None
    backward_transfer: float | None = None
    forward_transfer: float | None = None
    test_mean_scaled_error: float | None = None

    def objective(self, name: str) -> float:
        """Return what a search minimises.

        Forgetting counts from 0: a negative value is the improvement of a start that was undertrained, and no merit.
        """
        if name == "forgetting":
            return max(self.forgetting or 0.0, 0.0)  # of a single dataset there is none
        return WORST if self.mean_scaled_error is None else self.mean_scaled_error


@dataclass(frozen=True)
class TrialResult:
    """What a trial came to: finished, stopped or failed.

    `stopped_after` is the last dataset of a trial that did not train on all, `failed` says why one could not be ended.
    `epochs` has the epochs of each dataset, `samples` is what went in, `key` the address of the last state. Of a beam
    search, `level` is the number of datasets that the trial is for, and `parent` the trial that it extends.
    """

    number: int
    config: Mapping[str, Any]
    metrics: TrialMetrics = TrialMetrics()
    key: str | None = None
    stopped_after: str | None = None
    epochs: tuple[int, ...] = ()
    samples: int = 0
    failed: str | None = None
    level: int | None = None
    parent: int | None = None

    @property
    def complete(self) -> bool:
        """Return whether it trained on all datasets and has an error."""
        return self.stopped_after is None and self.metrics.mean_scaled_error is not None

    def to_json(self) -> dict[str, Any]:
        """Return what search.json holds of it; what it does not have is left out where it is optional."""
        content = to_json(self)
        return {
            name: value for name, value in content.items() if value is not None or name not in ("failed", "level", "parent")
        }


@dataclass(frozen=True)
class SearchResult:
    """What a search came to.

    `best` is the trial with the lowest first objective, `pareto` the trials that no other one beats in both measures, from
    the lowest error on; `key` and `kept` are their states. `epochs_requested` counts what all trials ask for,
    `epochs_distinct` each epoch once. `when` is Unix time. `beam_width` is None for other algorithms.
    """

    name: str
    status: str
    when: float
    algorithm: str
    scheduler: str
    objectives: tuple[str, ...]
    trials: tuple[TrialResult, ...]
    best: int | None
    pareto: tuple[int, ...]
    key: str | None
    kept: tuple[str, ...]
    epochs_requested: int
    epochs_trained: int
    epochs_distinct: int
    ratio: float | None
    seconds: float
    versions: Mapping[str, str] = field(default_factory=dict)
    prepared: tuple[str, ...] = ()  # fingerprints of the datasets
    beam_width: int | None = None
    format: int = FORMAT

    @property
    def complete(self) -> list[TrialResult]:
        """Return the trials that trained on all datasets and have an error."""
        return [trial for trial in self.trials if trial.complete]

    @property
    def failed(self) -> list[TrialResult]:
        """Return the trials that could not be ended."""
        return [trial for trial in self.trials if trial.failed is not None]

    @property
    def stopped(self) -> list[TrialResult]:
        """Return the trials that did not train on all datasets: stopped early, or the beginnings of a beam search."""
        return [trial for trial in self.trials if trial.stopped_after is not None]

    @property
    def best_trial(self) -> TrialResult | None:
        """Return the best trial; None if none trained on all datasets."""
        return next((trial for trial in self.trials if trial.number == self.best), None)

    @property
    def way_to_best(self) -> list[TrialResult]:
        """Return the best trial of a beam search after those that it extends, the first of them first."""
        by_number = {trial.number: trial for trial in self.trials}
        found: list[TrialResult] = []
        number = self.best
        while number is not None:
            found.append(by_number[number])
            number = by_number[number].parent
        return found[::-1]

    def to_json(self) -> dict[str, Any]:
        """Return what search.json holds."""
        content = to_json(self)
        if self.beam_width is None:
            del content["beam_width"]
        return {**content, "trials": [trial.to_json() for trial in self.trials]}


@dataclass(frozen=True)
class SearchUnderWay:
    """How far a search is that has not ended: what searching.json holds.

    `kept` are the states that `clean` leaves; times are Unix times.
    """

    name: str
    prepared: tuple[str, ...]
    trials_asked: int
    started: float
    status: str = "running"
    key: None = None
    when: float = 0.0
    trials_ended: int = 0
    epochs_trained: int = 0
    kept: tuple[str, ...] = ()
    message: str | None = None


def search_from(content: Mapping[str, Any]) -> SearchResult:
    """Return the result that search.json holds; raises DamagedRecordError where it does not hold one."""
    return from_json(SearchResult, content)


def under_way_from(content: Mapping[str, Any]) -> SearchUnderWay:
    """Return what searching.json holds; raises DamagedRecordError where it does not hold it."""
    return from_json(SearchUnderWay, content)
