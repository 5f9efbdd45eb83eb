"""A trial before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Proposal:
    """A trial to run: its number, its values, and how far it goes.

    `level` is the number of datasets that a trial of a beam search trains on, `parent` the trial that it extends; None:
    the trial trains on all of them.
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
