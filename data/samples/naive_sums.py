"""Sums over samples of the errors of the naive forecast, for the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class NaiveSums:
    """The sums of one split, in the targets' own units: a number for each target.

    For numbers `squared` and `absolute` errors, for classes the `wrong` guesses; the others are empty. `count` is the
    number of observed target values, or of samples with a class.
    """

    count: Numbers
    squared: Numbers = ()
    absolute: Numbers = ()
    wrong: Numbers = ()

    @staticmethod
    def total(sums: Sequence[NaiveSums]) -> NaiveSums:
        """Return the sums over the parts of a dataset with numeric targets."""
        columns = [[getattr(each, name) for each in sums] for name in ("count", "squared", "absolute")]
        return NaiveSums(*(tuple(np.sum(values, axis=0).tolist()) for values in columns))

    @property
    def flat(self) -> bool:
        """Return whether the naive forecast of numbers makes no error, as no target changes."""
        return any(self.count) and not self.wrong and not any(self.absolute)

    def to_json(self) -> dict[str, list[float]]:
        """Return the non-empty sums by name."""
        return {name: list(values) for name, values in vars(self).items() if values or name == "count"}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> NaiveSums:
        """Return the sums that to_json returned."""
        return NaiveSums(**{name: tuple(values) for name, values in content.items()})
