"""Compute the weight of each class in the loss: by its frequency in the train samples, or from the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from data.errors import InputError
from data.prepared.encodings import Encoding
from data.prepared.prepared import PreparedDataset

Asked = Literal["balanced"] | Mapping[str, float] | None


def with_class_weights(encodings: Sequence[Encoding], datasets: Sequence[PreparedDataset], asked: Asked) -> list[Encoding]:
    """Return the encodings with class weights, in the order of their classes, with mean 1 over the train samples.

    A sample counts by its weight. "balanced" gives each class of a dataset the same sum of weights, as scikit-learn does. A
    mapping has weights by label, default 1; they are divided by their mean over the dataset's train samples. Classes
    without train samples in a dataset have weight 1 there. Raises InputError for a label that no dataset has.
    """
    if asked is None:
        return list(encodings)
    if not isinstance(asked, str):
        known = [label for encoding in encodings for label in encoding.classes]
        unknown = sorted(set(asked) - set(known))
        if unknown:
            shown = ", ".join(map(repr, dict.fromkeys(known)))
            raise InputError(f"model.class_weights: no train sample has the label {unknown[0]!r}: the labels are {shown}")
    return [
        replace(encoding, class_weights=_weights(_weight_of_labels(dataset), encoding.classes, asked))
        for encoding, dataset in zip(encodings, datasets, strict=True)
    ]


def _weight_of_labels(dataset: PreparedDataset) -> Mapping[str, float]:
    """Return the summed weight of the train samples of each label."""
    weights: dict[str, float] = {}
    for label, weight in zip(dataset.target_labels("train"), dataset.sample_weights("train").tolist(), strict=True):
        weights[label] = weights.get(label, 0.0) + weight
    return weights


def _weights(
    counts: Mapping[str, float], classes: Sequence[str], asked: Literal["balanced"] | Mapping[str, float]
) -> tuple[float, ...]:
    totals = np.array([counts.get(label, 0.0) for label in classes], np.float64)
    if isinstance(asked, str):
        weights = totals.sum() / np.where(totals > 0, totals, 1) / max(np.count_nonzero(totals), 1)
    else:
        weights = np.array([asked.get(label, 1.0) for label in classes])
        weights = weights * totals.sum() / max(float((weights * totals).sum()), 1e-300)
    return tuple(np.where(totals > 0, weights, 1.0).tolist())
