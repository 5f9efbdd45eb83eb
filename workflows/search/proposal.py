"""A trial that is to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Proposal:
    """A trial to run: its number, its values, and the number of datasets.

    `level` is the number of datasets that a trial of a beam search trains on, `parent` the trial that it extends; both
    None in other searches, where trials train on all datasets.
    """

    number: int
    config: Mapping[str, Any]
    level: int | None = None
    parent: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the trial's configuration for Ray Tune."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Proposal:
        """Return the proposal in a trial's configuration."""
        return Proposal(**content)
