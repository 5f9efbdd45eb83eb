"""Compute the center and scale of columns from the train rows, and warn about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from data.prepared.prepared import PreparedDataset, quartiles_of
from data.samples.statistics import Statistics

Float64 = npt.NDArray[np.float64]


def center_and_scale(scaling: str, statistics: Statistics, datasets: Sequence[PreparedDataset]) -> tuple[Float64, Float64]:
    """Return the center that is subtracted from each column, and the scale that it is divided by.

    Robust scaling divides by the interquartile range, or by the standard deviation where that range is 0 (most values are
    equal), so that the rare other values are scaled too.
    """
    if scaling == "none":
        return np.zeros_like(statistics.mean), np.ones_like(statistics.mean)
    if scaling == "minmax":
        center, scale = statistics.low, statistics.high - statistics.low
    elif scaling == "robust":
        low, center, high = datasets[0].quartiles if len(datasets) == 1 else quartiles_of(datasets)
        scale = np.where(high > low, high - low, statistics.deviation)
    else:
        center, scale = statistics.mean, statistics.deviation
    return center, np.where(scale > 0, scale, 1.0)  # a constant column becomes zero


def scaling_warnings(dataset: PreparedDataset) -> list[str]:
    """Return a warning for each column that varies but has equal quartiles, if the scaling is by quartiles."""
    if dataset.settings.scaling != "robust" or dataset.settings.scaling_scope != "dataset":
        return []
    names = dict.fromkeys(column.name for column in dataset.columns if column.kind in ("number", "target"))
    numeric = [column.name for column in dataset.columns if column.kind in ("number", "target")]
    low, _, high = dataset.quartiles
    flat = [name for name in names if low[(at := numeric.index(name))] == high[at] and dataset.statistics.deviation[at] > 0]
    return [
        f"column {name!r} has an interquartile range of 0 in the train rows: it is scaled by its standard deviation"
        for name in flat
    ]
