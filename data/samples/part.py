"""The facts of a part, which one shard of a dataset is prepared as."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from data.reading.settings import SPLITS
from data.samples.counts import Counts
from data.samples.naive_sums import NaiveSums
from data.samples.notes import Steps
from data.samples.stretch import Stretch, StretchSummary


@dataclass
class Part:
    """The facts of a part; its rows and samples are in the files values-N.arrow and samples-N.arrow beside it.

    `sha256` covers, for each split, all rows that its samples can see, at any position in the part.
    """

    rows: int = 0
    holes: int = 0  # feature cells still missing, filled by Encoding.fill
    num_series: int = 0
    samples: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    statistics: dict[str, list[float | None]] = field(default_factory=dict)
    categories: dict[str, list[str]] = field(default_factory=dict)
    train_categories: dict[str, list[str]] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    longest_gap: dict[str, int] = field(default_factory=dict)  # consecutive rows without a value in the column
    used_rows: int = 0  # rows of a split; missing values are counted in these
    time_span: tuple[int, int] | None = None  # of these rows
    naive: dict[str, NaiveSums] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    train_spans: list[tuple[int, int]] = field(default_factory=list)
    num_short: int = 0  # series that are shorter than one sample
    longest: tuple[int, str, str] = (0, "", "")  # rows, name and file of the longest series
    kind_of_time: tuple[str, str] | None = None  # a file and whether its times are dates or numbers
    counts: Counts = field(default_factory=Counts)
    files: dict[str, tuple[int, str]] = field(default_factory=dict)  # bytes and SHA-256 by name
    overlap: int = 0  # rows at its beginning that the previous part also has
    stretches: list[StretchSummary] = field(default_factory=list)  # combined by finish; not in the manifest
    steps: Steps = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)  # by split: the samples of each class
    bits: int = 32  # of each number; 64 if 32 lose the differences between rows
    weight: float = 0.0  # summed over all train samples, if they have weights

    def to_json(self) -> dict[str, Any]:
        """Return the facts by name."""
        return {each.name: getattr(self, each.name) for each in fields(Part) if each.name != "stretches"} | {
            "counts": self.counts.to_json(),
            "naive": {split: sums.to_json() for split, sums in self.naive.items()},
        }

    @staticmethod
    def from_json(facts: dict[str, Any]) -> Part:
        """Return the part that to_json wrote, in this version or before counts were added."""
        known = {each.name: facts[each.name] for each in fields(Part) if each.name in facts}
        naive = {split: NaiveSums.from_json(sums) for split, sums in facts.get("naive", {}).items()}
        return Part(**known | {"counts": Counts(**facts.get("counts", {})), "naive": naive})


@dataclass(frozen=True)
class Cut:
    """How a dataset was cut into parts: the stretch of each series of this part, and the labels of the whole dataset.

    `bits` of a number also belong to the whole dataset: see data.samples.precision.
    """

    stretches: list[Stretch]
    train_categories: dict[str, list[str]]
    categories: dict[str, list[str]]
    bits: int = 32
