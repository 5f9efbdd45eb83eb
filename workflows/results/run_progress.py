"""A run under way or stopped, as a value: progress.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.records import from_json, to_json
from workflows.results.run_result import Session


@dataclass(frozen=True)
class RunProgress:
    """The progress of a run; `key` is the last address it reached.

    `recipe` is the document of the recipe, `described` the hash of the file that describes the datasets. `stage` and
    `epoch` count from 0 and are None before the first epoch. `started` and `when` (the last sign of life) are Unix times.
    """

    name: str
    status: str
    key: str
    datasets: tuple[str, ...]
    epochs_requested: int
    when: float
    prepared: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    epochs_reached: int | None = None
    started: float = 0.0
    described: str | None = None
    stage: int | None = None
    epoch: int | None = None
    message: str | None = None
    first_key: str | None = None  # address of the first epoch that this call trained
    epochs_trained: int = 0  # by this call
    sessions: tuple[Session, ...] = ()  # earlier calls

    def to_json(self) -> dict[str, Any]:
        """Return the content of progress.json; values that are not known yet are left out."""
        return {name: value for name, value in to_json(self).items() if value is not None}


def progress_from(content: Mapping[str, Any]) -> RunProgress:
    """Return the progress in progress.json; raises DamagedRecordError if it is not one."""
    return from_json(RunProgress, content)
