"""The contents of a recipe's datasets: rows, time, gaps, scales, samples, and distances between the datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.prepared.distances import distances_between
from data.prepared.prepared import PreparedDataset
from data.reading.settings import SPLITS
from data.records import to_json
from data.samples.counts import Counts
from workflows.prepare.order import REASON, mean_distances, suggest_order


@dataclass(frozen=True)
class Scale:
    """Mean, standard deviation and range of a column over the train rows, in its units; None: never observed."""

    mean: float | None
    deviation: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Gap:
    """A run of rows in which a column is missing."""

    column: str
    rows: int


@dataclass(frozen=True)
class WindowLengths:
    """Lengths of the train windows in rows."""

    shortest: int
    median: float
    longest: int


@dataclass(frozen=True)
class InspectedDataset:
    """The contents of one dataset; `first` and `last` are its times, `classes` counts train samples by label."""

    name: str
    rows: int
    series: int
    first: str | None
    last: str | None
    frequency: str | int | None
    missing_share: float
    longest_gap: Gap | None
    samples: Mapping[str, int]
    window: WindowLengths
    columns: Mapping[str, Scale]
    targets: tuple[str, ...]
    classes: Mapping[str, int] | None
    fingerprint: str
    counts: Counts | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class TrainingOrder:
    """The order of training: the recipe's setting, the names in that order, and the suggested order."""

    used: str
    names: tuple[str, ...]
    suggested: tuple[str, ...]
    reason: str = REASON


@dataclass(frozen=True)
class Inspection:
    """The datasets in the order of training, the distances between them, and the mean distance of each to the others."""

    datasets: tuple[InspectedDataset, ...]
    distances: tuple[tuple[float, ...], ...]
    mean_distance: tuple[float, ...]
    order: TrainingOrder

    def to_json(self) -> dict[str, Any]:
        """Return what `inspect --json` writes."""
        return to_json(self)


def inspect_datasets(datasets: Sequence[PreparedDataset], order: str, num_trained: int | None = None) -> Inspection:
    """Return facts about each dataset in training order, and distances between the first `num_trained`.

    `order` is the recipe's. Means, deviations, ranges and distances use only train rows; missing values and times use all
    three splits.
    """
    trained = datasets[:num_trained]
    names = [each.name for each in trained]
    distances = distances_between(trained)
    suggested = suggest_order(distances, names)
    return Inspection(
        datasets=tuple(inspect_dataset(each) for each in datasets),
        distances=tuple(tuple(row) for row in distances.tolist()),
        mean_distance=tuple(mean_distances(distances).tolist()),
        order=TrainingOrder(order, tuple(names), tuple(names[index] for index in suggested)),
    )


def inspect_dataset(dataset: PreparedDataset) -> InspectedDataset:
    """Return facts about one dataset."""
    manifest, settings = dataset.manifest, dataset.settings
    first, last = manifest.time_span or (None, None)
    lengths = dataset.lengths("train")
    # Labels at the end of a sequence leave no gaps: targets count only if they form a series.
    counted = [name for name in manifest.missing if name in settings.features or settings.horizon]
    gaps = {name: manifest.longest_gap[name] for name in counted}
    widest = max(gaps, key=lambda name: gaps[name])
    return InspectedDataset(
        name=dataset.name,
        rows=manifest.rows,
        series=manifest.num_series,
        first=first,
        last=last,
        frequency=settings.frequency,
        missing_share=sum(manifest.missing[name] for name in counted) / max(manifest.used_rows * len(counted), 1),
        longest_gap=Gap(widest, gaps[widest]) if gaps[widest] else None,
        samples={split: manifest.samples[split] for split in SPLITS},
        window=WindowLengths(int(lengths.min()), float(np.median(lengths)), int(lengths.max())),
        columns=_scales(dataset),
        targets=tuple(dataset.targets),
        classes=dict(sorted(Counter(dataset.target_labels("train")).items())) if dataset.classes else None,
        fingerprint=manifest.fingerprint,
        counts=manifest.counts,
        warnings=tuple(manifest.warnings),
    )


def _scales(dataset: PreparedDataset) -> dict[str, Scale]:
    numeric = [column.name for column in dataset.columns if column.kind in ("number", "target")]
    statistics = dataset.statistics
    scales = {}
    for position, name in enumerate(numeric):
        values = (statistics.mean, statistics.deviation, statistics.low, statistics.high)
        scales[name] = Scale(*(float(each[position]) if statistics.count[position] else None for each in values))
    return scales


def by_difference(datasets: Sequence[InspectedDataset], columns: Sequence[str]) -> list[str]:
    """Return the columns by how much their scales differ between the datasets, most different first.

    The measure is the deviation of the means in units of the deviation within the datasets, plus the deviation of the
    logarithm of the deviations: 1 is a column that is shifted by one deviation, or 2.7 times as wide, from dataset to
    dataset.
    """

    def difference(name: str) -> float:
        known = [each.columns[name] for each in datasets if each.columns[name].mean is not None]
        means = np.array([each.mean for each in known])
        spreads = np.array([each.deviation for each in known])
        if not len(known):
            return 0.0
        within = float(np.sqrt((spreads**2).mean()))
        shift = float(means.std()) / within if within else float(means.std() > 0)
        positive = spreads[spreads > 0]
        return shift + (float(np.log(positive).std()) if len(positive) else 0.0)

    return sorted(columns, key=lambda name: -difference(name))
