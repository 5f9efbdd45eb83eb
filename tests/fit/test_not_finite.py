"""A run with numbers that are not finite stops with their position and keeps earlier checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import epochs_of, outcome, plan_of, prepare_sequences, random_sequences, walk

from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.errors import NonFiniteLossError
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.recipe.settings import TrainingSettings
from workflows.relay.plan import Plan, make_plan
from workflows.relay.relay import NotAnsweredError


def test_a_loss_that_is_not_finite_names_dataset_epoch_and_step_and_leaves_the_checkpoints_before_it(tmp_path: Path) -> None:
    good, (inputs, targets) = random_sequences(0, 30), random_sequences(1, 30)
    targets[17] = 1e30  # its square overflows, in the second batch of ten
    datasets = prepare_sequences({"good": good, "bad": (inputs, targets)}, tmp_path / "data")
    plan = plan_of(datasets, [2, 2], {"hidden_size": 4}, batch_size=10, shuffle=False)
    with pytest.raises(NonFiniteLossError, match=r"dataset 'bad', epoch 1, step 2 of 3: the loss is inf"):
        walk(plan, datasets, tmp_path)
    first = plan_of(datasets[:1], [2], {"hidden_size": 4}, batch_size=10, shuffle=False)
    kept = {first.root, outcome(first, tmp_path).key, *(epoch.key for epoch in epochs_of(first, tmp_path))}
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == kept
    with pytest.raises(NonFiniteLossError, match="'bad', epoch 1, step 2"):  # the same from the kept checkpoint
        walk(plan, datasets, tmp_path)
    with pytest.raises(NotAnsweredError):
        epochs_of(plan, tmp_path)


def absurd(datasets: list[EncodedDataset], epochs: int, batch_size: int, learning_rate: float) -> Plan:
    """Return a plan with a learning rate that recipes refuse, so that the numbers overflow."""
    training = TrainingSettings(batch_size=batch_size).model_copy(update={"learning_rate": learning_rate})
    return make_plan(0, ModelSettings(hidden_size=4), training, datasets, [epochs])


def test_an_absurd_learning_rate_stops_before_a_checkpoint_that_is_not_finite(tmp_path: Path) -> None:
    datasets = prepare_sequences({"a": random_sequences(0, 30)}, tmp_path / "data")
    plan = absurd(datasets, 3, 10, 1e30)
    with pytest.raises(NonFiniteLossError, match=r"dataset 'a', epoch 1, step 2 of 3: the loss is"):
        walk(plan, datasets, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [plan.root]


def test_an_error_that_is_not_finite_stops_the_run_too(tmp_path: Path) -> None:
    datasets = prepare_sequences({"a": random_sequences(0, 40)}, tmp_path / "data", split=[0.8, 0.2, 0.0])
    plan = absurd(datasets, 1, 40, 1e38)
    with pytest.raises(NonFiniteLossError, match="dataset 'a', validation: the error is not finite"):
        walk(plan, datasets, tmp_path)


def test_a_gradient_that_is_not_finite_under_a_finite_loss_stops_too(tmp_path: Path) -> None:
    inputs, targets = random_sequences(0, 10)
    for each in inputs:
        each[:, 0] = 1e25
    (dataset,) = prepare_sequences({"steep": (inputs, targets + 1e15)}, tmp_path)
    settings = ModelSettings(hidden_size=4)
    learner = Learner(LSTM(settings, 3, 2), settings, TrainingSettings(batch_size=10), Group())
    with torch.no_grad():
        learner.model.forward_layers[0].weight_ih_l0[:, 0] = 0.0  # so that nothing overflows on the way forward
    with pytest.raises(NonFiniteLossError, match=r"step 1 of 1: the loss is .*e\+30, its gradient not finite"):
        learner.fit_epoch(dataset, np.array([1e-3]), (0, 0, 0))


@pytest.mark.parametrize("output", [float("inf"), float("nan")])
def test_an_evaluation_of_outputs_that_are_not_finite_is_refused(output: float, tmp_path: Path) -> None:
    (dataset,) = prepare_sequences({"a": random_sequences(0, 10)}, tmp_path)
    settings = ModelSettings(hidden_size=4)
    learner = Learner(LSTM(settings, 3, 2), settings, TrainingSettings(), Group())
    learner.model.head.bias.data[1] = output
    with pytest.raises(NonFiniteLossError, match="dataset 'a', train: the error is not finite"):
        learner.evaluate(dataset, "train")
