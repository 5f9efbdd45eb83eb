"""Choose the trial to start next. Trials with common prefixes form a tree of epochs, each of which is trained once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

MAX_COMPARED = 1000  # trials that are compared at each choice


@dataclass(frozen=True)
class Chain:
    """The epochs of a trial: their addresses, their costs (train samples), and the prepared data they need."""

    keys: tuple[str, ...]
    costs: tuple[float, ...]
    data: str = ""


def next_trial(waiting: Mapping[int, Chain], trained: Set[str], running: Collection[Chain] = (), open_data: str = "") -> int:
    """Return the number of the trial to start while others run.

    The order is: (1) the trial that waits least for epochs of running trials, because a waiting core is idle; (2) the
    longest path from its next epoch on (the critical path); (3) the most work from that epoch on, for other cores; (4) a
    trial with data that is already open in the process; (5) the longest trial, because trials contained in it cost
    nothing afterwards.
    """
    taken = {key for chain in running for key in chain.keys if key not in trained}
    longest, below = _unlocked(waiting.values(), trained)

    def rank(number: int) -> tuple[float, float, float, bool, float, int]:
        chain = waiting[number]
        remaining = [(key, cost) for key, cost in zip(chain.keys, chain.costs, strict=True) if key not in trained]
        first = next((key for key, _ in remaining if key not in taken), "")
        waiting_cost = sum(cost for key, cost in remaining if key in taken)
        remaining_cost = sum(cost for _, cost in remaining)
        return (
            waiting_cost,
            -longest.get(first, 0.0),
            -below.get(first, 0.0),
            chain.data != open_data,
            -remaining_cost,
            number,
        )

    return min(waiting, key=rank)


def _unlocked(chains: Collection[Chain], trained: Set[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return, for each untrained epoch, the longest path to the end of a trial and the total cost of all epochs after it."""
    longest: dict[str, float] = {}
    cost_of: dict[str, float] = {}
    before: dict[str, tuple[int, str]] = {}  # index in the chain, and the epoch before
    for chain in chains:
        rest = 0.0
        for index in range(len(chain.keys) - 1, -1, -1):
            key = chain.keys[index]
            if key in trained:
                break
            rest += chain.costs[index]
            longest[key] = max(longest.get(key, 0.0), rest)
            cost_of[key] = chain.costs[index]
            before[key] = (index, chain.keys[index - 1] if index else "")
    below = dict(cost_of)
    for key in sorted(before, key=lambda key: -before[key][0]):
        parent = before[key][1]
        if parent in below:
            below[parent] += below[key]
    return longest, below


@dataclass(frozen=True)
class Schedule:
    """A simulated search on a number of cores: its end, and the idle time of cores that could have trained.

    Times have the unit of the costs.
    """

    ends_at: float
    avoidably_idle: float


def simulate(chains: Mapping[int, Chain], num_concurrent: int, trained: Set[str] = frozenset()) -> Schedule:
    """Simulate trials started by `next_trial`; each epoch is trained by the first trial that reaches it."""
    waiting, done = dict(chains), set(trained)
    cores: list[Chain | None] = [None] * num_concurrent
    under_way: dict[str, tuple[float, int]] = {}  # key: end of its training, core
    now = idle = 0.0
    while True:
        for number, chain in enumerate(cores):
            while (chain is None or all(key in done for key in chain.keys)) and waiting:
                others = [each for index, each in enumerate(cores) if each is not None and index != number]
                chain = waiting.pop(next_trial(waiting, done, others))
            if chain is None or all(key in done for key in chain.keys):
                cores[number] = None
                continue
            cores[number] = chain
            index = next(index for index, key in enumerate(chain.keys) if key not in done)
            if chain.keys[index] not in under_way:
                under_way[chain.keys[index]] = (now + chain.costs[index], number)
        if not under_way:
            return Schedule(now, idle)
        soonest = min(at for at, _ in under_way.values())
        ready = {next(key for key in each.keys if key not in done) for each in waiting.values() if set(each.keys) - done}
        num_ready = len(ready - set(under_way))
        idle += min(num_concurrent - len(under_way), num_ready) * (soonest - now)
        now = soonest
        for key in [key for key, (at, _) in under_way.items() if at == now]:
            done.add(key)
            del under_way[key]
