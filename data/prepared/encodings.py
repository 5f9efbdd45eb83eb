"""How each dataset of a run is encoded: its scaling, and the categories and classes that all of them share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from data.errors import InputError
from data.prepared.labels import check_spelling
from data.prepared.prepared import PreparedDataset
from data.prepared.scaling import center_and_scale
from data.reading.columns import MAX_CATEGORIES
from data.reading.settings import DataSettings
from data.samples.statistics import Statistics


@dataclass(frozen=True)
class Encoding:
    """How one dataset is encoded: scaled = (value - center) / scale.

    `center` and `scale` belong to the numeric features, then the numeric targets; `fill` is what stands in, before
    scaling, for a feature that is still missing. `categories` are the labels that have a one-hot column, `classes` those
    that the model tells apart; both are shared by all datasets of a run. Classes are numbered in the order of the datasets
    whose train rows have them first, so that a dataset that is appended changes no number.
    """

    center: tuple[float, ...]
    scale: tuple[float, ...]
    fill: tuple[float, ...]
    categories: dict[str, list[str]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    class_weights: tuple[float, ...] = ()  # in the loss, of each of `classes`; empty: all count alike

    def sha256(self) -> str:
        """The hash of all of it, which decides epochs; weights are part of it where there are some."""
        decided_by = {key: value for key, value in asdict(self).items() if value or key != "class_weights"}
        return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()

    def of_classes(self, count: int) -> Encoding:
        """Return the encoding as it is without the classes behind the first `count`."""
        return replace(self, classes=self.classes[:count], class_weights=self.class_weights[:count])


def make_encodings(
    datasets: Sequence[PreparedDataset],
    settings: Sequence[DataSettings],
    sorted_classes: bool = False,
    num_trained: int | None = None,
) -> list[Encoding]:
    """The encoding of each dataset, by its scaling and whose train rows are to scale it.

    With `sorted_classes` the classes of all datasets together are numbered by their labels. Datasets behind the first
    `num_trained` are only measured: nothing that all share depends on them.
    """
    width = len(datasets[0].statistics.mean)
    trained = datasets[:num_trained]
    pooled = Statistics.pooled((each.statistics for each in trained), width)
    names = [column.name for column in datasets[0].columns if column.kind in ("code", "class")]
    seen = {name: sorted({label for each in trained for label in each.train_categories(name)}) for name in names}
    targets = datasets[0].targets if datasets[0].classes else []
    crowded = {name: len(labels) for name, labels in seen.items() if name not in targets and len(labels) > MAX_CATEGORIES}
    if crowded:
        raise InputError(
            f"column {name!r}: the train rows of all {len(trained)} datasets together have {count} categories, at most "
            f"{MAX_CATEGORIES} can become columns: leave it out of categorical, or group its values"
            for name, count in crowded.items()
        )
    for name in targets:
        check_spelling(name, seen[name])
    labels = [label for name in targets for each in trained for label in each.train_categories(name)]
    classes = list(dict.fromkeys(sorted(labels) if sorted_classes else labels))
    encodings = []
    for dataset, setting in zip(datasets, settings, strict=True):
        whose = {"dataset": [dataset], "shared": list(trained), "primary": [datasets[0]]}[setting.scaling_scope]
        statistics = pooled if setting.scaling_scope == "shared" else whose[0].statistics
        center, scale = center_and_scale(setting.scaling, statistics, whose)
        fill = np.zeros(width) if setting.missing == "zero" else dataset.statistics.mean
        encodings.append(
            Encoding(
                center=tuple(center.tolist()),
                scale=tuple(scale.tolist()),
                fill=tuple(fill.tolist()),
                categories={name: labels for name, labels in seen.items() if name not in targets},
                classes=classes,
            )
        )
    return encodings
