"""The events at the end of a run or search, and of each trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cluster.trials import TrialPlacement
from workflows.relay.events import RunEvent
from workflows.results.run_result import RunResult
from workflows.results.search_result import SearchResult, TrialResult


@dataclass(frozen=True)
class Finished:
    """A run is finished; its result is in `folder`."""

    result: RunResult
    folder: str


@dataclass(frozen=True)
class SearchPlanned:
    """A search has chosen its trials and how many run at a time. `orders` explains suggested training orders."""

    trials: int
    placement: TrialPlacement
    orders: tuple[str, ...]
    storage: str


@dataclass(frozen=True)
class StoredTrials:
    """`stored` of the trials are complete in the store and are not run again."""

    stored: int
    trials: int


@dataclass(frozen=True)
class TrialDone:
    """A trial has ended, was stopped or failed; `trained` epochs were trained for it."""

    trial: TrialResult
    trained: int


@dataclass(frozen=True)
class LevelDone:
    """A beam search has tried all choices for the `level`th dataset; the `kept` trials are extended, best first."""

    level: int
    kept: tuple[TrialResult, ...]


@dataclass(frozen=True)
class TrialLost:
    """The process of a trial was lost; it is run again."""

    number: int


@dataclass(frozen=True)
class SearchFinished:
    """A search is finished; `result` is what search.json in `folder` holds."""

    result: SearchResult
    folder: str


Event = RunEvent | Finished | SearchPlanned | StoredTrials | TrialDone | LevelDone | TrialLost | SearchFinished
Watch = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore an event."""
