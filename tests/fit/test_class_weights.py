"""Weights of classes in the loss, against scikit-learn and a plain torch loop."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import plan_of, prepare_sequences, run_workers
from sklearn.utils.class_weight import compute_class_weight

from data.errors import InputError
from data.prepared.class_weights import with_class_weights
from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows import train
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay, concatenate
from workflows.recipe.settings import TrainingSettings
from workflows.relay.errors import errors_of

MODEL = ModelSettings(hidden_size=5, loss="cross_entropy", class_weights="balanced")
TRAINING = TrainingSettings(batch_size=8, shuffle=False, learning_rate=0.01, handover="last")
RATES = np.full(4, 0.01)


def datasets_of(
    folder: Path, asked: Any = "balanced", split: tuple[float, float, float] = (1, 0, 0)
) -> list[EncodedDataset]:
    """Return two datasets of sequences of 3 to 6 steps; one has classes 0 and 1, the other 1 and 2; one class is rare."""
    made = {}
    for number, name in enumerate("ab"):
        random = np.random.default_rng(number)
        inputs = [random.normal(size=(random.integers(3, 7), 2)).astype(np.float32) for _ in range(30)]
        made[name] = inputs, (number + (random.random((30, 1)) < 0.2)).astype(np.float64)
    plain = prepare_sequences(made, folder, split, classes=True)
    encodings = with_class_weights([each.encoding for each in plain], [each.prepared for each in plain], asked)
    return [EncodedDataset(each.prepared, encoding) for each, encoding in zip(plain, encodings, strict=True)]


def new_learner(group: Group | None = None) -> Learner:
    torch.manual_seed(0)
    return Learner(LSTM(MODEL, 2, 3), MODEL, TRAINING, group or Group())


def loop(model: LSTM, dataset: EncodedDataset) -> tuple[LSTM, float]:
    """Train one epoch in a plain loop, with the weights of scikit-learn; each loss is divided by the size of its batch."""
    labels = dataset.batch("train", np.arange(30)).targets
    present = np.unique(labels)
    weights = torch.ones(3)
    weights[present] = torch.tensor(compute_class_weight("balanced", classes=present, y=labels), dtype=torch.float32)
    model, total = copy.deepcopy(model), 0.0
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for start in range(0, 30, 8):
        optimizer.zero_grad()
        losses = []
        for sample in range(start, min(start + 8, 30)):
            one = dataset.batch("train", np.array([sample]))
            outputs = model(torch.from_numpy(one.inputs), torch.from_numpy(one.lengths))
            losses.append(F.cross_entropy(outputs, torch.from_numpy(one.targets), weight=weights, reduction="sum"))
        loss = torch.stack(losses).sum()
        (loss / len(losses)).backward()
        optimizer.step()
        total += float(loss.detach())
    return model, total / 30


def fitted(folder: str) -> dict[str, Any]:
    """Return a worker's loss and weights after an epoch, and the sums of an evaluation."""
    learner = new_learner(Group.current())
    (dataset, _) = datasets_of(Path(folder))
    done = learner.fit_epoch(dataset, RATES, (0, 0, 0))
    sums = learner.evaluate(dataset, "train")
    weights = {name: value.tolist() for name, value in learner.model.state_dict().items()}
    return {"loss": done.train_loss, "weights": weights, "weighted": sums.weighted.tolist()}


def test_an_epoch_is_that_of_a_plain_loop_on_one_worker_and_on_two(tmp_path: Path) -> None:
    (dataset, _) = datasets_of(tmp_path)
    model, loss = loop(new_learner().model, dataset)
    for result in (fitted(str(tmp_path)), *run_workers(fitted, 2, tmp_path / "group", str(tmp_path))):
        assert result["loss"] == pytest.approx(loss, rel=1e-5)
        for name, value in model.state_dict().items():
            np.testing.assert_allclose(result["weights"][name], value, rtol=1e-4, atol=1e-6)


def test_errors_are_reported_with_and_without_the_weights(tmp_path: Path) -> None:
    (dataset, _) = datasets_of(tmp_path, {"1": 5})
    learner = new_learner()
    batch = dataset.batch("train", np.arange(30))
    with torch.no_grad():
        outputs = learner.model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths))
    losses = F.cross_entropy(outputs, torch.from_numpy(batch.targets), reduction="none").numpy()
    wrong, weights = outputs.argmax(dim=1).numpy() != batch.targets, np.where(batch.targets == 1, 5.0, 1.0)
    errors = errors_of(learner.evaluate(dataset, "train"), dataset, MODEL)
    assert (errors.error, errors.loss) == (pytest.approx(wrong.mean()), pytest.approx(losses.mean(), rel=1e-5))
    assert errors.weighted_error == pytest.approx(np.average(wrong, weights=weights))
    assert errors.weighted_loss == pytest.approx(np.average(losses, weights=weights), rel=1e-5)


def test_replayed_samples_keep_the_weights_of_their_own_dataset(tmp_path: Path) -> None:
    first, second = datasets_of(tmp_path)
    samples = np.arange(0, 30, 3)
    old = Replay((first,), [samples], 1.0, 1.0).batches(np.zeros(len(samples), np.int64), samples)
    together = concatenate([second.batch("train", np.arange(4)), *old])
    assert together.weights is not None
    np.testing.assert_array_equal(together.weights[4:], first.batch("train", samples).weights)
    assert not np.allclose(first.encoding.class_weights, second.encoding.class_weights)


def test_weights_have_a_mean_of_one_over_the_train_samples_and_unknown_labels_are_refused(tmp_path: Path) -> None:
    for asked in ("balanced", {"0": 3.0, "2": 0.5}):
        for dataset in datasets_of(tmp_path, asked):
            assert np.mean(dataset.batch("train", np.arange(30)).weights) == pytest.approx(1, rel=1e-6)
    with pytest.raises(InputError, match=r"no train sample has the label 'x': the labels are '0', '1', '2'"):
        datasets_of(tmp_path, {"x": 2.0})


def test_class_weights_are_part_of_the_address_only_if_set(tmp_path: Path) -> None:
    plain, weighted, other = (datasets_of(tmp_path, asked) for asked in (None, "balanced", {"1": 2.0}))
    keys = [
        plan_of(each, [1, 1], {"loss": "cross_entropy"}).datasets[0].sha256["train"] for each in (plain, weighted, other)
    ]
    assert len(set(keys)) == 3
    assert not plain[0].encoding.class_weights
    roots = {plan_of(plain, [1, 1], {"loss": "cross_entropy", "class_weights": each}).root for each in (None, "balanced")}
    assert len(roots) == 1


def test_train_takes_class_weights_and_refuses_them_for_numbers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 4, 2)), np.where(random.random(40) < 0.2, "rare", "usual")
    result = train(
        {"a": (x, y)},
        validation={"a": (x[:9], y[:9])},
        storage=tmp_path,
        loss="cross_entropy",
        class_weights="balanced",
        epochs=1,
    )
    run = result.run.datasets[0]
    expected = compute_class_weight("balanced", classes=np.array(run.encoding.classes), y=y)
    assert run.encoding.class_weights == pytest.approx(expected.tolist())
    assert result.evaluate("validation")["datasets"]["a"]["weighted_error"] is not None
    with pytest.raises(InputError, match=r'requires loss = "cross_entropy"'):
        train({"a": (x, random.normal(size=(40, 1)))}, storage=tmp_path, class_weights="balanced", epochs=1)
