"""The choice of the next trial: no core waits unnecessarily, and the trial that unlocks the most comes first."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.search.tree import Chain, next_trial, simulate


def chain(words: str, data: str = "") -> Chain:
    """Return the chain of epochs "a", "ab", "abc" for "abc", each of cost 1."""
    return Chain(tuple(words[: length + 1] for length in range(len(words))), (1.0,) * len(words), data)


def test_a_second_core_takes_the_trial_that_waits_least_for_the_first() -> None:
    waiting = {0: chain("abd"), 1: chain("abe"), 2: chain("acd")}
    assert next_trial(waiting, set(), [chain("abc")]) == 2
    assert next_trial({0: chain("abd"), 1: chain("abe")}, {"a", "ab"}, [chain("abd")]) == 1


def test_the_critical_path_comes_first_then_what_has_more_below_it() -> None:
    waiting = {0: chain("ab"), 1: chain("acde"), 2: chain("ac"), 3: chain("af"), 4: chain("afg"), 5: chain("afh")}
    assert next_trial(waiting, {"a"}) == 1
    rest = {number: each for number, each in waiting.items() if number not in (1, 2)}
    assert next_trial(rest, {"a"}) in (4, 5)
    assert next_trial({0: chain("xb"), 1: chain("yb"), 2: chain("yc")}, set()) == 1  # as long, but two trials go on from it


def test_of_equal_trials_the_one_whose_data_is_open_comes_first() -> None:
    waiting = {0: chain("ab", "hourly"), 1: chain("cd", "daily")}
    assert next_trial(waiting, set()) == 0
    assert next_trial(waiting, set(), open_data="daily") == 1


def test_a_grid_of_81_trials_keeps_two_cores_busy_to_the_end() -> None:
    """Simulate 3 rates x 3 epochs for each of 3 datasets: 148 epochs, of which the first 4 form a single chain."""
    trials = {}
    for number, (rate, *epochs) in enumerate(itertools.product("xyz", (1, 2, 4), (1, 2, 4), (1, 2, 4))):
        keys: list[str] = []
        for stage, count in enumerate(epochs):
            prefix = f"{keys[-1] if keys else ''}/{rate if stage else ''}{stage}"
            keys += [f"{prefix}.{epoch}" for epoch in range(count)]
        trials[number] = Chain(tuple(keys), (1.0,) * len(keys))
    distinct = len({key for each in trials.values() for key in each.keys})
    assert distinct == 148
    # The second core waits for the first epoch, then both train to the end: 1 + 147 / 2, and one epoch at the end.
    assert simulate(trials, 2).ends_at <= 76
    assert simulate(trials, 2).avoidably_idle == 0
    assert simulate(trials, 4).ends_at <= 1.1 * distinct / 4


TREES = st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(TREES, st.integers(1, 4))
def test_a_schedule_trains_each_epoch_once_and_is_near_the_bound(words: list[str], cores: int) -> None:
    chains = {number: chain(each) for number, each in enumerate(words)}
    distinct = {key for each in chains.values() for key in each.keys}
    schedule = simulate(chains, cores)
    longest = max(map(len, words))
    assert max(longest, len(distinct) / cores) <= schedule.ends_at <= longest + len(distinct) / cores  # Graham's bound
    assert simulate(chains, 1).ends_at == len(distinct)
    assert simulate(chains, cores, distinct).ends_at == 0
