"""In which order datasets are trained: as the recipe has them, or as their distances suggest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

REASON = (
    "the first is the nearest to all others; the last ones are spread over all kinds of data, as what is trained last is "
    "remembered best"
)


def suggest_order(distances: Float64, names: Sequence[str]) -> list[int]:
    """The places of the datasets in the suggested order, whatever the order they are given in.

    `distances` (datasets, datasets) is symmetric. The primary is the medoid: the dataset with the smallest mean distance to
    all others, from whose weights (and scale, with scaling_scope = "primary") the way to each of them is short. The rest
    is found from the end: the last is the farthest from the primary, and before it comes, again and again, the one that is
    the farthest from its nearest among those behind it (farthest-first traversal, Gonzalez 1985). So of two that are alike
    one comes early, for the other teaches the same again, and the last few, remembered best, leave no kind of data out.
    Equal ones are in the order of their names.
    """
    means = mean_distances(distances)
    first = min(range(len(names)), key=lambda place: (means[place], names[place]))
    left = {place for place in range(len(names)) if place != first}
    behind: list[int] = []
    nearest = distances[first]
    while left:
        found = min(left, key=lambda place: (-nearest[place], names[place]))
        nearest = np.minimum(nearest, distances[found]) if behind else distances[found]
        left.remove(found)
        behind.append(found)
    return [first, *reversed(behind)]


def mean_distances(distances: Float64) -> Float64:
    """The mean distance of each dataset to all others; 0 where there is no other."""
    # Rounded: sums of the same numbers in another order differ in their last bits, and are equal all the same.
    return np.asarray((distances.sum(axis=1) / max(len(distances) - 1, 1)).round(9))


def order_words(names: Sequence[str]) -> str:
    """The suggested order and its reason in a line."""
    shown = [*names[:6], f"{len(names) - 8} more", *names[-2:]] if len(names) > 12 else list(names)
    return f"suggested order: {', '.join(shown)} ({REASON})"
