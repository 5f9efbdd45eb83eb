"""The report of a trial to Ray Tune after a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from workflows.results.search_result import WORST


@dataclass(frozen=True)
class StageReport:
    """`stages` datasets are done, for which `trained` epochs were trained; `complete` if the trial is done.

    The objectives are those over the datasets so far, WORST where unknown. `failed` says why the trial cannot continue. A
    `parked` trial does nothing until it is stopped.
    """

    mean_scaled_error: float = WORST
    forgetting: float = WORST
    stages: int = 0
    trained: int = 0
    complete: bool = False
    failed: str = ""
    parked: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the result that Tune is given; Tune ends a trial whose result says `done`."""
        return {**asdict(self), "done": self.complete or bool(self.failed)}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> StageReport:
        """Return the report in a result of Tune, which adds keys of its own."""
        return StageReport(**{each.name: content[each.name] for each in fields(StageReport) if each.name in content})
