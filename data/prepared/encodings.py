"""Encode the datasets of a run: the scaling of each, and the categories and classes that all datasets share."""

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

UNKNOWN_SCALE = 1e30  # large enough that any value divided by it is 0 in 32 bits, relative to scaled values


@dataclass(frozen=True)
class Encoding:
    """The encoding of one dataset: scaled = (value - center) / scale.

    `center` and `scale` belong to the numeric features, then the numeric targets; `fill` replaces, before scaling, values
    of a feature that are still missing. `categories` are the labels with a one-hot column, `classes` the labels that the
    model predicts; both are shared by all datasets of a run. Classes are numbered by the first dataset with them in its
    train rows, so that an appended dataset changes no number.
    """

    center: tuple[float, ...]
    scale: tuple[float, ...]
    fill: tuple[float, ...]
    categories: dict[str, list[str]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    class_weights: tuple[float, ...] = ()  # loss weight of each of `classes`; empty: all 1

    def sha256(self) -> str:
        """Return the hash of the encoding, part of the address of epochs; class weights are included if there are any."""
        decided_by = {key: value for key, value in asdict(self).items() if value or key != "class_weights"}
        return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()

    def of_classes(self, count: int) -> Encoding:
        """Return the encoding without the classes after the first `count`."""
        return replace(self, classes=self.classes[:count], class_weights=self.class_weights[:count])


def make_encodings(
    datasets: Sequence[PreparedDataset],
    settings: Sequence[DataSettings],
    sorted_classes: bool = False,
    num_trained: int | None = None,
) -> list[Encoding]:
    """Return the encoding of each dataset, by its scaling and the rows its scaler is fitted on.

    With `sorted_classes` the classes of all datasets together are numbered by their labels. Datasets after the first
    `num_trained` are only evaluated: no shared value depends on them.
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
    for number, (dataset, setting) in enumerate(zip(datasets, settings, strict=True)):
        fitted_on = {"dataset": [dataset], "shared": list(trained), "primary": [datasets[0]]}[setting.scaling_scope]
        statistics = pooled if setting.scaling_scope == "shared" else fitted_on[0].statistics
        center, scale = center_and_scale(setting.scaling, statistics, fitted_on)
        for column in np.flatnonzero(statistics.count == 0):
            before = [each for each in [*trained[:number], dataset] if each.statistics.count[column]]
            before = before[:1] if setting.scaling_scope == "primary" else before
            center[column], scale[column] = _scale_of_another(setting, before, int(column))
        fill = np.zeros(width) if setting.missing == "zero" else dataset.statistics.mean
        fill = np.where(dataset.statistics.count == 0, center, fill)
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


def _scale_of_another(setting: DataSettings, before: Sequence[PreparedDataset], column: int) -> tuple[float, float]:
    """Return center and scale of a column without values in a dataset's train rows, from the earlier datasets that have it.

    If none has it, its values are encoded as 0, the mean, because their scale is unknown.
    """
    if setting.scaling == "none":
        return 0.0, 1.0
    if not before:
        return 0.0, UNKNOWN_SCALE
    statistics = Statistics.pooled((each.statistics for each in before), len(before[0].statistics.mean))
    center, scale = center_and_scale(setting.scaling, statistics, before)
    return float(center[column]), float(scale[column])


def nowhere_problems(datasets: Sequence[PreparedDataset]) -> list[str]:
    """Return the problems of optional columns without a value in the train rows of any dataset."""
    columns = [column.name for column in datasets[0].columns if column.kind in ("number", "target")]
    counts = np.sum([each.statistics.count for each in datasets], axis=0)
    optional = {name for each in datasets for name in each.settings.optional}
    return [
        f"optional column {name!r} has no value in the train rows of any dataset: correct its name, or leave it out"
        for name, count in zip(columns, counts, strict=True)
        if count == 0 and name in optional
    ]
