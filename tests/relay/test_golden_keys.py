"""Addresses are pinned: a change of one of these would retrain the epochs of every store."""

from __future__ import annotations

from typing import Any

import pytest
from test_relay import SPLITS

from models.settings import ModelSettings
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import Plan, PlannedDataset, Stage

GOLDEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "plain": ({}, {}, "1d09516e65a9e6919812c6a4d2e3f6f2"),
    "cosine": ({"schedule": "cosine"}, {}, "35e8960fbd595ab803c383605f90697a"),
    "cyclical": ({"schedule": "cyclical"}, {}, "3e95aa1cd6b26ffbb80636939556b7be"),
    "one_cycle": ({"schedule": "one_cycle"}, {}, "0471dbe3a405e61ad9195b20b17e52b4"),
    "plateau": ({"schedule": "plateau"}, {}, "1d09516e65a9e6919812c6a4d2e3f6f2"),
    "warmup": ({"warmup_steps": 3}, {}, "d79dbe1ba8410c6a57334b175686ecb3"),
    "best": ({"handover": "best", "patience": 1}, {}, "1d09516e65a9e6919812c6a4d2e3f6f2"),
    "reset": ({"carry_optimizer": False, "shuffle": False}, {}, "98528a36a0f29425f15088c8f16e6035"),
    "precision": (
        {"precision": "bfloat16", "weight_decay": 0.01, "gradient_clip": 1.0},
        {},
        "f48d615d3f48f0bb503a531f610f1f27",
    ),
    "ewc": ({}, {"method": "ewc"}, "bf378b91f8ca2fb948be3a6bb24262ef"),
    "l2": ({}, {"method": "l2", "strength": 3.0}, "ac4a0f1e373d944588717bf93772dc2a"),
    "distill": ({}, {"method": "distill"}, "4c666475bc59be5e695c302dcdceffee"),
}


def last_key(training: dict[str, Any], retention: dict[str, Any]) -> str:
    datasets = [
        PlannedDataset(str(n), dict.fromkeys(SPLITS, 100), {split: f"{split} {n}" for split in SPLITS}) for n in range(3)
    ]
    stages = [Stage(index, 0.1 * 0.5**index, 2) for index in range(3)]
    settings = TrainingSettings.model_validate({"batch_size": 16, "handover": "last", **training})
    kept = RetentionSettings.model_validate(retention)
    plan = Plan(0, ModelSettings(head="shared"), settings, tuple(datasets), tuple(stages), 3, 2, "root", kept)
    return [epoch.key for epoch in plan.straight_on()][-1]


@pytest.mark.parametrize("name", GOLDEN)
def test_an_address_has_not_changed(name: str) -> None:
    training, retention, key = GOLDEN[name]
    assert last_key(training, retention) == key
