"""A plan's facts about its datasets: numbers of samples, and hashes of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from data.prepared.encoding import EncodedDataset
from workflows.relay.metrics import naive_error


@dataclass(frozen=True)
class PlannedDataset:
    """The facts of a dataset that a plan needs.

    `sha256` hashes, for each split, the samples as the model sees them; the name is not part of it.
    """

    name: str
    samples: dict[str, int]
    sha256: dict[str, str]
    train_bytes: int = 0  # of the rows of the train samples
    naive_error: float | None = None  # of the naive forecast on the validation split; not part of an address

    @staticmethod
    def of(dataset: EncodedDataset, loss: str, num_classes: int | None = None) -> PlannedDataset:
        """Return the facts of an encoded dataset; its train rows have the first `num_classes` classes, None: all.

        Labels of later classes are not hashed, unless its validation or test rows may have them.
        """
        content, encoding = dataset.prepared.manifest.sha256, dataset.encoding
        known = dict.fromkeys(content, encoding.sha256())
        if num_classes is not None:
            num_present = max(num_classes, dataset.num_classes_present)
            cut = {count: encoding.of_classes(count).sha256() for count in (num_classes, num_present)}
            known = {split: cut[num_classes if split == "train" else num_present] for split in content}
        # Evaluations also compare with the values a season before, and with the scale of the train rows.
        compared = {} if dataset.season is None else {"season": dataset.season, "train": content["train"]}
        return PlannedDataset(
            name=dataset.name,
            samples=dict(dataset.prepared.manifest.samples),
            sha256={
                split: address({"samples": sha, "encoding": known[split], **({} if split == "train" else compared)})
                for split, sha in content.items()
            },
            train_bytes=dataset.prepared.train_bytes,
            naive_error=naive_error(dataset, "validation", loss),
        )


def classes_seen(datasets: Sequence[EncodedDataset]) -> list[int]:
    """Return how many classes the train rows of each dataset and those before it have."""
    return list(accumulate((dataset.num_classes_trained for dataset in datasets), max))


def address(decided_by: dict[str, Any]) -> str:
    """Return the address for values: their hash, as 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()[:32]
