"""The training order of the datasets: that of the recipe, or suggested by their distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

REASON = (
    "the last dataset is nearest to all others and the last few cover all kinds of data: what is trained last is "
    "remembered best"
)


def suggest_order(distances: Float64, names: Sequence[str]) -> list[int]:
    """Return the datasets' indices in the suggested order, independent of their input order.

    `distances` (datasets, datasets) is symmetric. The order is built from its end. The last dataset is the medoid, with
    the smallest mean distance to all others: the model is best on the last one, which is then near to all. The dataset
    before it, repeatedly, is the one farthest from those already ordered (farthest-first traversal, Gonzalez 1985). So the
    last few cover all kinds of data, and early datasets, which are forgotten most, have similar ones later. The first one,
    the primary, has the nearest relative. Ties are broken by name.
    """
    means = mean_distances(distances)
    left = sorted(range(len(names)), key=lambda index: names[index], reverse=True)
    reversed_order = [min(left, key=lambda index: means[index])]
    left.remove(reversed_order[0])
    while left:
        reversed_order.append(max(left, key=lambda index: distances[index, reversed_order].min()))
        left.remove(reversed_order[-1])
    return reversed_order[::-1]


def mean_distances(distances: Float64) -> Float64:
    """Return the mean distance of each dataset to all others; 0 if there is no other."""
    # Rounded: sums of the same numbers in another order differ in their last bits.
    return np.asarray((distances.sum(axis=1) / max(len(distances) - 1, 1)).round(9))


def order_words(names: Sequence[str]) -> str:
    """Return the suggested order and its reason in one line."""
    shown = [*names[:6], f"{len(names) - 8} more", *names[-2:]] if len(names) > 12 else list(names)
    return f"suggested order: {', '.join(shown)} ({REASON})"
