"""The weight of each class in the loss: by its frequency in the train samples, or given by the recipe."""

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
    """Return the encodings with the weight of each class: by place in their classes, of mean 1 over the train samples.

    A sample with a weight counts as that many. "balanced" gives each class of a dataset the same sum of weights, as
    scikit-learn does. A mapping gives weights by label, 1 to the labels that it does not name; they are divided by their
    mean over the dataset's train samples. Classes that the train samples of a dataset do not have weigh 1 there. Raises
    InputError for a label that no dataset has.
    """
    if asked is None:
        return list(encodings)
    if not isinstance(asked, str):
        known = [label for encoding in encodings for label in encoding.classes]
        unknown = sorted(set(asked) - set(known))
        if unknown:
            there = ", ".join(map(repr, dict.fromkeys(known)))
            raise InputError(f"model.class_weights: no train sample has the label {unknown[0]!r}: the labels are {there}")
    return [
        replace(encoding, class_weights=_weights(_held(dataset), encoding.classes, asked))
        for encoding, dataset in zip(encodings, datasets, strict=True)
    ]


def _held(dataset: PreparedDataset) -> Mapping[str, float]:
    """Return the train samples of each label, by their weights."""
    found: dict[str, float] = {}
    for label, weight in zip(dataset.target_labels("train"), dataset.sample_weights("train").tolist(), strict=True):
        found[label] = found.get(label, 0.0) + weight
    return found


def _weights(
    counts: Mapping[str, float], classes: Sequence[str], asked: Literal["balanced"] | Mapping[str, float]
) -> tuple[float, ...]:
    held = np.array([counts.get(label, 0.0) for label in classes], np.float64)
    if isinstance(asked, str):
        given = held.sum() / np.where(held > 0, held, 1) / max(np.count_nonzero(held), 1)
    else:
        given = np.array([asked.get(label, 1.0) for label in classes])
        given = given * held.sum() / max(float((given * held).sum()), 1e-300)
    return tuple(np.where(held > 0, given, 1.0).tolist())
