"""A search's result as values: search.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.records import from_json, to_json

FORMAT = 1  # raised when a key of search.json changes its meaning
WORST = 1e30  # an unknown objective; infinity would become NaN in ASHA's percentile


@dataclass(frozen=True)
class TrialMetrics:
    """Errors relative to naive over the datasets that a trial trained on; None where not measured.

    The last three exist only for trials that trained on all datasets.
    """

    mean_scaled_error: float | None = None
    forgetting: float | None = None
    backward_transfer: float | None = None
    forward_transfer: float | None = None
    test_mean_scaled_error: float | None = None

    def objective(self, name: str) -> float:
        """Return the value that a search minimises.

        Negative forgetting counts as 0: it comes from an undertrained start and is no merit.
        """
        if name == "forgetting":
            return max(self.forgetting or 0.0, 0.0)  # None for a single dataset
        return WORST if self.mean_scaled_error is None else self.mean_scaled_error


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial: finished, stopped or failed.

    `stopped_after` is the last dataset of a trial that did not train on all, `failed` says why one could not finish.
    `epochs` has the epochs of each dataset, `samples` is the number of train samples, `key` the address of the last
    state. In a beam search, `level` is the number of datasets of the trial, and `parent` the trial that it extends.
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
        """Return whether the trial trained on all datasets and has an error."""
        return self.stopped_after is None and self.metrics.mean_scaled_error is not None

    def to_json(self) -> dict[str, Any]:
        """Return the entry in search.json; optional values that are unknown are left out."""
        content = to_json(self)
        return {
            name: value for name, value in content.items() if value is not None or name not in ("failed", "level", "parent")
        }


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    `best` is the trial with the lowest first objective, `pareto` the trials that no other one beats in both measures,
    sorted by error; `key` and `kept` are their states. `epochs_requested` counts the epochs of all trials,
    `epochs_distinct` each epoch once. `when` is Unix time. `beam_width` is None for other algorithms.
    `best_recipe` is the recipe of the best trial as TOML; best.toml is a copy of it.
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
    best_recipe: str | None = None
    format: int = FORMAT

    @property
    def complete(self) -> list[TrialResult]:
        """Return the trials that trained on all datasets and have an error."""
        return [trial for trial in self.trials if trial.complete]

    @property
    def failed(self) -> list[TrialResult]:
        """Return the trials that could not finish."""
        return [trial for trial in self.trials if trial.failed is not None]

    @property
    def stopped(self) -> list[TrialResult]:
        """Return the trials that did not train on all datasets: stopped early, or prefixes of a beam search."""
        return [trial for trial in self.trials if trial.stopped_after is not None]

    @property
    def best_trial(self) -> TrialResult | None:
        """Return the best trial; None if none trained on all datasets."""
        return next((trial for trial in self.trials if trial.number == self.best), None)

    @property
    def way_to_best(self) -> list[TrialResult]:
        """Return the best trial of a beam search after the trials that lead to it, first one first."""
        by_number = {trial.number: trial for trial in self.trials}
        trials: list[TrialResult] = []
        number = self.best
        while number is not None:
            trials.append(by_number[number])
            number = by_number[number].parent
        return trials[::-1]

    def to_json(self) -> dict[str, Any]:
        """Return the content of search.json."""
        content = to_json(self)
        for name in ("beam_width", "best_recipe"):
            if content[name] is None:
                del content[name]
        return {**content, "trials": [trial.to_json() for trial in self.trials]}


@dataclass(frozen=True)
class SearchUnderWay:
    """The progress of a search: searching.json. `kept` are the states that `clean` keeps; times are Unix times."""

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
    """Return the result in search.json; raises DamagedRecordError if it is not one."""
    return from_json(SearchResult, content)


def under_way_from(content: Mapping[str, Any]) -> SearchUnderWay:
    """Return the progress in searching.json; raises DamagedRecordError if it is not one."""
    return from_json(SearchUnderWay, content)
