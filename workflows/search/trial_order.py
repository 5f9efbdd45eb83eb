"""The order of trials, so that those that run at the same time seldom want the same epoch; and which are the best."""

from __future__ import annotations

from collections.abc import Sequence

MAX_ORDERED = 1000  # the choice of the next of n trials looks at all that are left


def order_trials(chains: Sequence[Sequence[str]], num_concurrent: int) -> list[int]:
    """The numbers of the trials in the order to start them; `chains` are the addresses of the epochs of each.

    A trial that starts while others run should share with them none of the epochs that are not trained yet: it would
    wait. So the next one is that which shares fewest, and of equals the one that continues what is trained already
    furthest, then the longest: whatever is a prefix of it costs nothing afterwards.
    """
    if num_concurrent <= 1 or len(chains) > MAX_ORDERED:
        return list(range(len(chains)))
    sets = [set(chain) for chain in chains]
    left, found, trained = list(range(len(chains))), list[int](), set[str]()
    running: list[set[str]] = []

    def cost(number: int) -> tuple[int, int, int, int]:
        new = sets[number] - trained
        shared = sum(len(new & other) for other in running)
        return shared, -len(sets[number] & trained), -len(sets[number]), number

    while left:
        best = min(left, key=cost)
        left.remove(best)
        found.append(best)
        running.append(sets[best] - trained)
        if len(running) >= num_concurrent:
            trained |= running.pop(0)
    return found


def pareto_front(points: Sequence[Sequence[float | None]]) -> list[int]:
    """The numbers of the points that no other point beats: as low everywhere and lower somewhere. None is in no front.

    Of points that are equal all are in it.
    """
    known = [(number, point) for number, point in enumerate(points) if None not in point]
    return [
        number
        for number, point in known
        if not any(
            all(a <= b for a, b in zip(other, point, strict=True)) and tuple(other) != tuple(point)  # type: ignore[operator]
            for _, other in known
        )
    ]
