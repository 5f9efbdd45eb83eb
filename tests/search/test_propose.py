"""Optuna's proposals do not depend on which of the trials that run at the same time ends first."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ray.tune.search import Searcher

from workflows.recipe.search_settings import Choices, Range
from workflows.search.propose import Proposer, Study
from workflows.search.space import Parameter

SPACE = [Parameter("a", Range(0.0, 1.0)), Parameter("b", Choices((1, 2, 4))), Parameter("c", Choices(("x", "y")))]


def proposals(lag: int, order: random.Random, share_lost: float = 0.0) -> list[dict[str, Any]]:
    """What is proposed if of `lag` running trials any one may end next, or be lost and run again."""
    proposer = Proposer(Study(SPACE, 1, seed=1), ["mean_scaled_error"], 30, lag)
    running: dict[int, dict[str, Any]] = {}
    found: dict[int, dict[str, Any]] = {}
    while True:
        while len(running) < lag:
            proposal = proposer.suggest("t")
            if not isinstance(proposal, dict):
                break
            number, config = proposal["proposal"]["number"], proposal["proposal"]["config"]
            assert found.setdefault(number, config) == config
            running[number] = config
        if not running:
            assert proposal == Searcher.FINISHED
            return [found[number] for number in range(30)]
        number = order.choice(sorted(running))
        config = running.pop(number)
        if order.random() < share_lost:
            proposer.on_trial_complete("t", error=True)  # Tune's word, which is not the final one
            proposer.again.append((number, config))
            continue
        proposer.on_trial_complete("t", {"mean_scaled_error": 0.0, "done": True})
        if config["b"] == 1 and config["c"] == "y":
            proposer.final(number, {"failed": "no number"})
        else:
            metrics = {"mean_scaled_error": (config["a"] - 0.3) ** 2 + config["b"]}
            proposer.final(number, {"metrics": metrics, "stopped_after": None if config["c"] == "x" else "anvil"})


@pytest.mark.parametrize("lag", [1, 3])
def test_the_same_trials_are_proposed_in_whatever_order_they_end(lag: int) -> None:
    found = proposals(lag, random.Random(0))
    assert found == proposals(lag, random.Random(1))
    assert found == proposals(lag, random.Random(2), share_lost=0.3)
    assert {config["b"] for config in found} == {1, 2, 4}


def test_what_is_learnt_draws_the_proposals_to_the_optimum() -> None:
    late = proposals(2, random.Random(0))[20:]
    assert sum(abs(config["a"] - 0.3) for config in late) / len(late) < 0.25
