"""What is in the datasets of a recipe, as facts: rows, time, gaps, scales, samples, and how far they lie apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.prepared.distances import distances_between
from data.prepared.prepared import PreparedDataset
from data.reading.settings import SPLITS
from workflows.prepare.order import REASON, mean_distances, suggest_order

Facts = dict[str, Any]


def inspect_datasets(datasets: Sequence[PreparedDataset], order: str) -> Facts:
    """The facts of each dataset, in the order of training, and of all together.

    `order` is the recipe's. Means, deviations, ranges and distances come from train rows alone; missing values and time
    from the rows of all three parts.
    """
    names = [each.name for each in datasets]
    distances = distances_between(datasets)
    suggested = suggest_order(distances, names)
    return {
        "datasets": [dataset_facts(each) for each in datasets],
        "distances": distances.tolist(),
        "mean_distance": mean_distances(distances).tolist(),
        "order": {
            "used": order,
            "names": names,
            "suggested": [names[place] for place in suggested],
            "reason": REASON,
        },
    }


def dataset_facts(dataset: PreparedDataset) -> Facts:
    """What is known of one dataset, by names that a reader of the JSON needs no table for."""
    manifest, settings = dataset.manifest, dataset.settings
    first, last = manifest.time_span or (None, None)
    lengths = dataset.lengths("train")
    # A label that stands at the end of a sequence alone is no gap: targets count where they are a series.
    counted = [name for name in manifest.missing if name in settings.features or settings.horizon]
    gaps = {name: manifest.longest_gap[name] for name in counted}
    widest = max(gaps, key=lambda name: gaps[name])
    return {
        "name": dataset.name,
        "rows": manifest.rows,
        "series": manifest.num_series,
        "first": first,
        "last": last,
        "frequency": settings.frequency,
        "missing_share": sum(manifest.missing[name] for name in counted) / max(manifest.used_rows * len(counted), 1),
        "longest_gap": {"column": widest, "rows": gaps[widest]} if gaps[widest] else None,
        "samples": {split: manifest.samples[split] for split in SPLITS},
        "window": {"shortest": int(lengths.min()), "median": float(np.median(lengths)), "longest": int(lengths.max())},
        "columns": _columns(dataset),
        "targets": dataset.targets,
        "classes": dict(sorted(Counter(dataset.target_labels("train")).items())) if dataset.classes else None,
        "fingerprint": manifest.fingerprint,
        "counts": None if manifest.counts is None else manifest.counts.to_json(),
        "warnings": manifest.warnings,
    }


def _columns(dataset: PreparedDataset) -> dict[str, Facts]:
    """Mean, deviation and range of each numeric column over the train rows, in its own units; None: never observed."""
    numeric = [column.name for column in dataset.columns if column.kind in ("number", "target")]
    known = dataset.statistics
    found = {}
    for place, name in enumerate(numeric):
        values = {"mean": known.mean, "deviation": known.deviation, "low": known.low, "high": known.high}
        found[name] = {key: float(each[place]) if known.count[place] else None for key, each in values.items()}
    return found


def most_different(facts: Facts, columns: Sequence[str]) -> list[str]:
    """The columns by how much their scales differ between the datasets, the most first; equal ones as they come.

    The deviation of the means in units of the deviation within the datasets, plus the deviation of the logarithm of the
    deviations: 1 is a column that is shifted by one deviation, or spread 2.7 times as wide, from dataset to dataset.
    """

    def difference(name: str) -> float:
        known = [each["columns"][name] for each in facts["datasets"] if each["columns"][name]["mean"] is not None]
        means = np.array([each["mean"] for each in known])
        spreads = np.array([each["deviation"] for each in known])
        if not len(known):
            return 0.0
        within = float(np.sqrt((spreads**2).mean()))
        shift = float(means.std()) / within if within else float(means.std() > 0)
        positive = spreads[spreads > 0]
        return shift + (float(np.log(positive).std()) if len(positive) else 0.0)

    return sorted(columns, key=lambda name: -difference(name))
