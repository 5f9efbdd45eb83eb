"""Choose the trial to start next. Trials with common prefixes form a tree of epochs, each of which is trained once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

MAX_COMPARED = 1000  # trials that are compared at each choice


@dataclass(frozen=True)
class Chain:
    """The epochs of a trial: their addresses, what each costs (train samples), and which prepared data they need."""

    keys: tuple[str, ...]
    costs: tuple[float, ...]
    data: str = ""


def next_trial(waiting: Mapping[int, Chain], trained: Set[str], running: Collection[Chain] = (), open_data: str = "") -> int:
    """Return the number of the trial to start while others run.

    First, the one that waits least for epochs that a running trial will train: a waiting core is idle. Of these, the one
    whose next epoch begins the longest remaining path (the critical path), then the most epochs, because these give other
    cores work. Then one whose data is open where the next trial will run; then the longest, because trials contained in
    it cost nothing afterwards.
    """
    taken = {key for chain in running for key in chain.keys if key not in trained}
    longest, below = _unlocked(waiting.values(), trained)

    def rank(number: int) -> tuple[float, float, float, bool, float, int]:
        chain = waiting[number]
        left = [(key, cost) for key, cost in zip(chain.keys, chain.costs, strict=True) if key not in trained]
        first = next((key for key, _ in left if key not in taken), "")
        waits = sum(cost for key, cost in left if key in taken)
        own = sum(cost for _, cost in left)
        return waits, -longest.get(first, 0.0), -below.get(first, 0.0), chain.data != open_data, -own, number

    return min(waiting, key=rank)


def _unlocked(chains: Collection[Chain], trained: Set[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return for each untrained epoch the longest path to the end of a trial, and the total of all epochs after it."""
    longest: dict[str, float] = {}
    cost_of: dict[str, float] = {}
    before: dict[str, tuple[int, str]] = {}  # index in the chain, and the epoch before
    for chain in chains:
        rest = 0.0
        for place in range(len(chain.keys) - 1, -1, -1):
            key = chain.keys[place]
            if key in trained:
                break
            rest += chain.costs[place]
            longest[key] = max(longest.get(key, 0.0), rest)
            cost_of[key] = chain.costs[place]
            before[key] = (place, chain.keys[place - 1] if place else "")
    below = dict(cost_of)
    for key in sorted(before, key=lambda key: -before[key][0]):
        parent = before[key][1]
        if parent in below:
            below[parent] += below[key]
    return longest, below


@dataclass(frozen=True)
class Schedule:
    """The course of a search on a number of cores: its end, and idle time of cores that could have trained.

    Times are in the unit of the costs.
    """

    ends_at: float
    avoidably_idle: float


def simulate(chains: Mapping[int, Chain], num_concurrent: int, trained: Set[str] = frozenset()) -> Schedule:
    """Simulate trials started by `next_trial`; each epoch is trained by the first trial that reaches it."""
    waiting, done = dict(chains), set(trained)
    cores: list[Chain | None] = [None] * num_concurrent
    under_way: dict[str, tuple[float, int]] = {}  # when it is trained, and by which core
    now = idle = 0.0
    while True:
        for number, chain in enumerate(cores):
            while (chain is None or all(key in done for key in chain.keys)) and waiting:
                others = [each for place, each in enumerate(cores) if each is not None and place != number]
                chain = waiting.pop(next_trial(waiting, done, others))
            if chain is None or all(key in done for key in chain.keys):
                cores[number] = None
                continue
            cores[number] = chain
            place = next(place for place, key in enumerate(chain.keys) if key not in done)
            if chain.keys[place] not in under_way:
                under_way[chain.keys[place]] = (now + chain.costs[place], number)
        if not under_way:
            return Schedule(now, idle)
        soonest = min(at for at, _ in under_way.values())
        ready = {next(key for key in each.keys if key not in done) for each in waiting.values() if set(each.keys) - done}
        could = len(ready - set(under_way))
        idle += min(num_concurrent - len(under_way), could) * (soonest - now)
        now = soonest
        for key in [key for key, (at, _) in under_way.items() if at == now]:
            done.add(key)
            del under_way[key]
