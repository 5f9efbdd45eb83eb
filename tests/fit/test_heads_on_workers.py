"""Heads are the same on 1, 2 and 3 workers: corrections for each dataset, and outputs that a new class adds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import alone_and_on_workers, epochs_of, outcome, prepare_sequences, random_sequences, walk

from data.prepared.encoding import EncodedDataset
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import Plan, make_plan

LABELS = {"a": (1, 2), "b": (2, 1), "c": (0, 2)}  # "0" is new in c
KINDS = ["numbers, a correction each", "a new class, one head", "a new class, a correction each"]


def datasets_of(kind: str, folder: Path) -> list[EncodedDataset]:
    pairs = {}
    for number, (name, (low, high)) in enumerate(LABELS.items()):
        inputs, targets = random_sequences(number, 37 + 10 * number, 4, 7)
        pairs[name] = (inputs, np.where(targets[:, :1] > 0, high, low) if "class" in kind else targets)
    return prepare_sequences(pairs, folder / kind / "prepared", split=(0.8, 0.2, 0), classes="class" in kind)


def make_all(folder: Path) -> None:
    for kind in KINDS:
        datasets_of(kind, folder)


def plan_of(kind: str, datasets: list[EncodedDataset]) -> Plan:
    head, loss = "shared" if "one head" in kind else "dataset", "cross_entropy" if "class" in kind else "mse"
    model = ModelSettings.model_validate({"hidden_size": 6, "dropout": 0.2, "head": head, "loss": loss})
    training = TrainingSettings(batch_size=16, learning_rate=0.01, gradient_clip=1.0, weight_decay=0.01)
    retention = RetentionSettings.model_validate({"method": "replay+distill", "memory": 11, "share": 0.2})
    return make_plan(0, model, training, datasets, [2, 2, 2], retention)


def walked_on(group_folder: str) -> dict[str, list[float]]:
    """Return the losses of all epochs and the losses on all datasets at the end."""
    losses = {}
    for kind in KINDS:
        datasets, runs = datasets_of(kind, Path(group_folder)), Path(group_folder) / kind / "runs"
        plan = plan_of(kind, datasets)
        assert plan.grown == ((2, 2, 3) if "class" in kind else ())
        walk(plan, datasets, runs, Group.current())
        ends = [each.loss for each in outcome(plan, runs).validation[-1] if each is not None]
        losses[kind] = [*(epoch.train_loss for epoch in epochs_of(plan, runs)), *ends]
        assert len(losses[kind]) == 9
    return losses


@pytest.mark.slow
def test_two_and_three_workers_train_the_heads_as_one_does(tmp_path: Path) -> None:
    """Takes about 15 s."""
    alone, on_workers = alone_and_on_workers(walked_on, make_all, tmp_path)
    assert len(on_workers) == 5
    for losses in on_workers:
        for kind, expected in alone.items():
            assert losses[kind] == pytest.approx(expected, rel=1e-5)
