"""Count dropped, filled and inserted rows and windows, so that nothing happens silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

SHARE_TO_WARN_OF = 0.1  # of the rows, the cells or the windows


@dataclass(frozen=True)
class Counts:
    """Counts of one part or one dataset.

    `rows_read` are rows of the files. `rows_duplicate` of them were left out because their time appeared before,
    `rows_moved` had their time rounded to the grid, and `rows_inserted` were added by `frequency`. `rows_used` are
    the rows read that belong to a split, and `cells_used` all feature cells there, of which `cells_filled` were missing
    and got a value. `windows_left_out` counts by reason; series that are too short count once each.
    """

    rows_read: int = 0
    rows_duplicate: int = 0
    rows_moved: int = 0
    rows_inserted: int = 0
    rows_used: int = 0
    cells_used: int = 0
    cells_filled: int = 0
    windows_left_out: dict[str, int] = field(default_factory=dict)

    def plus(self, other: Counts) -> Counts:
        """Return the sum of both."""
        left_out = Counter(self.windows_left_out) + Counter(other.windows_left_out)
        numbers = [each.name for each in fields(Counts) if each.name != "windows_left_out"]
        return Counts(
            **{name: getattr(self, name) + getattr(other, name) for name in numbers}, windows_left_out=dict(left_out)
        )

    @staticmethod
    def total(parts: Iterable[Counts]) -> Counts:
        """Return the sum of all parts."""
        sums = Counts()
        for part in parts:
            sums = sums.plus(part)
        return sums

    def to_json(self) -> dict[str, Any]:
        """Return the counts by name."""
        return asdict(self)

    def warnings(self, samples: int, frequency: object) -> list[str]:
        """Return a warning for each share above a tenth that was inserted, filled or left out."""
        warnings = []
        rows = self.rows_read - self.rows_duplicate + self.rows_inserted
        if self.rows_inserted > SHARE_TO_WARN_OF * rows:
            warnings.append(
                f"{_share(self.rows_inserted, rows)} rows were inserted by frequency = {frequency!r} as missing: "
                "check that it is the step of the data"
            )
        if self.cells_filled > SHARE_TO_WARN_OF * self.cells_used:
            warnings.append(
                f"{_share(self.cells_filled, self.cells_used)} feature cells were missing and filled: "
                "see `missing`, or leave columns out"
            )
        windows = {name: count for name, count in self.windows_left_out.items() if name != SHORT_SERIES}
        lost = sum(windows.values())
        if lost > SHARE_TO_WARN_OF * (lost + samples):
            warnings.append(f"{_share(lost, lost + samples)} windows were left out: {show_reasons(windows)}")
        if self.rows_moved:
            warnings.append(
                f"{_share(self.rows_moved, self.rows_read)} times were rounded to the grid of frequency = {frequency!r}"
            )
        if self.rows_duplicate:
            warnings.append(
                f"{_share(self.rows_duplicate, self.rows_read)} rows were merged with a row of the same time (duplicates)"
            )
        return warnings


MISSING_TARGET, MISSING_INPUT, SHORT_SERIES, NO_WEIGHT = "missing target", "missing input", "short series", "weight 0"


def show_reasons(left_out: Mapping[str, int]) -> str:
    """Return the reasons with their counts, most frequent first; "none" without any."""
    ranked = sorted((item for item in left_out.items() if item[1]), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {reason}" for reason, count in ranked) or "none"


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"
