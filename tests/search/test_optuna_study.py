"""Optuna's proposals do not depend on which of the concurrent trials ends first."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from workflows.recipe.search_settings import Choices, Range
from workflows.results.search_result import TrialMetrics, TrialResult
from workflows.search.optuna_study import OptunaTrials, Study
from workflows.search.space import Parameter
from workflows.search.supply import Supply
from workflows.search.tree import Chain

SPACE = [Parameter("a", Range(0.0, 1.0)), Parameter("b", Choices((1, 2, 4))), Parameter("c", Choices(("x", "y")))]


def proposals(lag: int, order: random.Random, share_lost: float = 0.0, num_stored: int = 0) -> list[Mapping[str, Any]]:
    """Return the proposals if any of `lag` running trials may end next, or be lost and run again.

    The store has the first `num_stored` trials.
    """
    supply = Supply(OptunaTrials(Study(SPACE, 1, seed=1), ["mean_scaled_error"], 30, lag), lambda _: Chain((), ()))
    configs: dict[int, Mapping[str, Any]] = {}

    def result(number: int, config: Mapping[str, Any]) -> TrialResult:
        if config["b"] == 1 and config["c"] == "y":
            return TrialResult(number, config, failed="no number")
        metrics = TrialMetrics((config["a"] - 0.3) ** 2 + config["b"])
        return TrialResult(number, config, metrics, stopped_after=None if config["c"] == "x" else "anvil")

    if num_stored:
        whole = supply.settle(lambda each: result(each.number, each.config) if each.number < num_stored else None)
        assert whole == (num_stored == 30)
        configs = {trial.number: trial.config for trial in supply.ended.values()}
    while True:
        while len(supply.running) < lag:
            proposal = supply.next()
            if proposal is None:
                break
            assert configs.setdefault(proposal.number, proposal.config) == proposal.config
        if not supply.running:
            assert supply.done
            return [configs[number] for number in range(30)]
        number = order.choice(sorted(supply.running))
        if order.random() < share_lost:
            supply.put_back(number)
            continue
        supply.record_final(result(number, supply.running[number].config))


@pytest.mark.parametrize("lag", [1, 3])
def test_the_same_trials_are_proposed_in_whatever_order_they_end(lag: int) -> None:
    expected = proposals(lag, random.Random(0))
    assert expected == proposals(lag, random.Random(1))
    assert expected == proposals(lag, random.Random(2), share_lost=0.3)
    assert expected == proposals(lag, random.Random(3), num_stored=7)
    assert expected == proposals(lag, random.Random(4), num_stored=30)
    assert {config["b"] for config in expected} == {1, 2, 4}


def test_later_proposals_are_near_the_optimum() -> None:
    late = proposals(2, random.Random(0))[20:]
    assert sum(abs(config["a"] - 0.3) for config in late) / len(late) < 0.25
