"""The report of a trial to Ray Tune after a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from workflows.results.search_result import WORST


@dataclass(frozen=True)
class StageReport:
    """The progress of a trial: `stages` are done, `trained` epochs were trained for it; `complete` if the trial is done.

    The objectives are over the datasets so far, WORST where unknown. `failed` is why the trial cannot continue. A
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
        """Return the result for Tune, which ends a trial when its result has `done`."""
        return {**asdict(self), "done": self.complete or bool(self.failed)}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> StageReport:
        """Return the report in a result of Tune, ignoring the keys that Tune adds."""
        return StageReport(**{each.name: content[each.name] for each in fields(StageReport) if each.name in content})
