"""Find the trials that are best in more than one measure at once. All measures are minimised."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, ...]


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Return the indices of the points that no other point dominates (as low in all measures and lower in one).

    Equal points are all in the front, or none is.
    """
    return [
        number
        for number, point in enumerate(points)
        if not any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points)
    ]


def fronts(points: Sequence[Point]) -> list[list[int]]:
    """Return the indices of all points: the front, the front of the rest without it, and so on."""
    remaining, layers = list(range(len(points))), list[list[int]]()
    while remaining:
        front = [remaining[index] for index in pareto_front([points[number] for number in remaining])]
        layers.append(front)
        remaining = [number for number in remaining if number not in front]
    return layers


def crowding(points: Sequence[Point]) -> list[float]:
    """Return the crowding distance of each point; infinite at the ends (Deb 2002, NSGA-II)."""
    distances = [0.0] * len(points)
    for measure in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda number: (points[number][measure], number))
        low, high = points[order[0]][measure], points[order[-1]][measure]
        for position, number in enumerate(order):
            if position in (0, len(order) - 1):
                distances[number] = math.inf
            elif high > low:
                before, after = points[order[position - 1]][measure], points[order[position + 1]][measure]
                distances[number] += (after - before) / (high - low)
    return distances
