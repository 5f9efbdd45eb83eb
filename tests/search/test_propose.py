"""Optuna's proposals do not depend on which of the trials that run at the same time ends first."""

from __future__ import annotations

import random
from typing import Any

import pytest

from workflows.recipe.search_settings import Choices, Range
from workflows.search.propose import Proposer, Study
from workflows.search.space import Parameter

SPACE = [Parameter("a", Range(0.0, 1.0)), Parameter("b", Choices((1, 2, 4))), Parameter("c", Choices(("x", "y")))]


def proposals(lag: int, order: random.Random) -> list[dict[str, Any]]:
    """What is proposed where of `lag` running trials any one may end next."""
    proposer = Proposer(Study(SPACE, 1, seed=1), ["mean_scaled_error"], 30, lag)
    running: dict[str, dict[str, Any]] = {}
    found = []
    while len(found) < 30 or running:
        while len(running) < lag:
            proposal = proposer.suggest(f"t{len(found)}")
            if not isinstance(proposal, dict):
                break
            found.append(proposal["proposal"]["config"])
            running[f"t{len(found) - 1}"] = found[-1]
        trial = order.choice(sorted(running))
        config = running.pop(trial)
        if config["b"] == 1 and config["c"] == "y":
            result = {"failed": "no number", "done": True, "mean_scaled_error": 1e30}
        else:
            result = {"mean_scaled_error": (config["a"] - 0.3) ** 2 + config["b"], "done": config["c"] == "x"}
        proposer.on_trial_complete(trial, result)
    return found


@pytest.mark.parametrize("lag", [1, 3])
def test_the_same_trials_are_proposed_in_whatever_order_they_end(lag: int) -> None:
    found = proposals(lag, random.Random(0))
    assert found == proposals(lag, random.Random(1))
    assert {config["b"] for config in found} == {1, 2, 4}


def test_what_is_learnt_draws_the_proposals_to_the_optimum() -> None:
    late = proposals(2, random.Random(0))[20:]
    assert sum(abs(config["a"] - 0.3) for config in late) / len(late) < 0.25
