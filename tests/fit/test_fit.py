"""One epoch and one evaluation against plain torch: every sample counts once, for all batches, losses and lengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import prepare_in_process, prepare_sequences, random_sequences
from torch import Tensor

from data.prepared.encoding import EncodedDataset
from data.reading.settings import DatasetSource, DataSettings
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.fit.sampling import epoch_batches
from workflows.recipe.settings import TrainingSettings

SEED = (3, 1, 2)


def make_learner(model: dict[str, Any], features: int = 3, outputs: int = 2, **training: Any) -> Learner:
    torch.manual_seed(0)
    settings = ModelSettings(**{"hidden_size": 5, **model})
    return Learner(LSTM(settings, features, outputs), settings, TrainingSettings(**training), Group())


def fit(learner: Learner, dataset: EncodedDataset, rate: float = 1e-2, seed: tuple[int, int, int] = SEED) -> float:
    steps = math.ceil(dataset.num_samples("train") / learner.training.batch_size)
    return learner.fit_epoch(dataset, np.full(steps, rate), seed).train_loss


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> EncodedDataset:
    """Return 75 train and 25 validation sequences of 2 to 9 steps."""
    samples = random_sequences(0, 100, shortest=2, longest=9)
    return prepare_sequences({"varied": samples}, tmp_path_factory.mktemp("varied"), split=[0.75, 0.25, 0.0])[0]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> EncodedDataset:
    """Return 60 train and 20 validation sequences of three classes."""
    inputs, targets = random_sequences(1, 80, shortest=3, longest=5, targets=1)
    classes = np.digitize(targets, [-0.2, 0.2]).astype(np.float32)
    made = {"labelled": (inputs, classes)}
    return prepare_sequences(made, tmp_path_factory.mktemp("labelled"), split=[0.75, 0.25, 0.0], classes=True)[0]


def plain_epoch(
    learner: Learner, dataset: EncodedDataset, loss_of: Callable[[Tensor, Tensor], Tensor], rate: float
) -> tuple[LSTM, float]:
    """Return a copy of the model after an epoch of whole batches with torch's AdamW and clipping, and its mean loss."""
    model = LSTM(learner.settings, dataset.num_features, learner.model.head.out_features)
    model.load_state_dict(learner.model.state_dict())
    parameters = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(parameters, lr=rate, weight_decay=learner.training.weight_decay)
    total, lengths = 0.0, dataset.lengths("train")
    for samples in epoch_batches(lengths, learner.training.batch_size, SEED, learner.training.shuffle):
        batch = dataset.batch("train", samples)
        outputs = model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths))
        loss = loss_of(outputs, torch.from_numpy(batch.targets))
        adam.zero_grad()
        loss.backward()
        if learner.training.gradient_clip:
            torch.nn.utils.clip_grad_norm_(parameters, learner.training.gradient_clip)
        adam.step()
        total += loss.item() * len(samples)
    return model, total / len(lengths)


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    gap = targets[..., None] - outputs.view(*targets.shape, 3)
    levels = torch.tensor([0.1, 0.5, 0.9])
    return torch.where(gap > 0, levels * gap, (levels - 1) * gap).mean()


@pytest.mark.parametrize(
    ("loss", "outputs", "oracle"),
    [
        ("mse", 2, lambda outputs, targets: F.mse_loss(outputs, targets.flatten(1))),
        ("mae", 2, lambda outputs, targets: F.l1_loss(outputs, targets.flatten(1))),
        ("huber", 2, lambda outputs, targets: F.smooth_l1_loss(outputs, targets.flatten(1))),
        ("quantile", 6, pinball),
        ("cross_entropy", 3, F.cross_entropy),
    ],
    ids=["mse", "mae", "huber", "quantile", "cross_entropy"],
)
def test_an_epoch_of_each_loss_equals_a_plain_loop_in_the_same_order(
    varied: EncodedDataset, labelled: EncodedDataset, loss: str, outputs: int, oracle: Callable[..., Tensor]
) -> None:
    dataset = labelled if loss == "cross_entropy" else varied
    learner = make_learner({"loss": loss}, outputs=outputs, batch_size=16)
    model, expected = plain_epoch(learner, dataset, oracle, 1e-2)
    assert fit(learner, dataset) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(dict(learner.model.named_parameters()), dict(model.named_parameters()), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "training",
    [
        {"batch_size": 75},
        {"batch_size": 7, "weight_decay": 0.3, "gradient_clip": 0.2},
        {"batch_size": 7, "gradient_clip": 100.0},
        {"batch_size": 8, "shuffle": False},
    ],
    ids=["micro-batches", "decay and clipping", "nothing to clip", "no shuffling"],
)
def test_an_epoch_with_these_settings_equals_a_plain_loop(varied: EncodedDataset, training: dict[str, Any]) -> None:
    learner = make_learner({"num_layers": 2, "bidirectional": True}, **training)
    learner.micro_batch = 11
    model, expected = plain_epoch(learner, varied, lambda o, t: F.mse_loss(o, t.flatten(1)), 1e-2)
    assert fit(learner, varied) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(dict(learner.model.named_parameters()), dict(model.named_parameters()), rtol=0, atol=1e-5)


def test_the_loss_of_an_epoch_is_the_mean_over_samples_however_uneven_the_batches(varied: EncodedDataset) -> None:
    batch = varied.batch("train", np.arange(75))
    for size in (1, 7, 74, 75, 200):
        learner = make_learner({}, batch_size=size)
        with torch.no_grad():
            outputs = learner.model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths))
        expected = ((outputs.numpy() - batch.targets[:, 0]) ** 2).mean()
        assert fit(learner, varied, rate=1e-12) == pytest.approx(float(expected), rel=1e-5)


def test_the_second_bias_stays_zero_under_training_and_weight_decay(varied: EncodedDataset) -> None:
    learner = make_learner({"num_layers": 2, "bidirectional": True}, batch_size=8, weight_decay=0.1)
    fit(learner, varied)
    second = [p for name, p in learner.model.named_parameters() if "bias_hh" in name]
    assert len(second) == 4
    assert not any(p.any() for p in second)


def test_dropout_gives_each_sequence_a_separate_mask_from_the_seed(varied: EncodedDataset) -> None:
    seen: list[list[Tensor]] = []
    losses = []
    for seed in (SEED, SEED, (3, 1, 3)):
        learner = make_learner({"dropout": 0.4, "hidden_size": 64}, batch_size=25)
        masks: list[Tensor] = []
        learner.model.register_forward_pre_hook(lambda _, inputs, masks=masks: masks.append(inputs[2]))
        losses.append(fit(learner, varied, seed=seed))
        seen.append(masks)
    first, again, other = (torch.cat(masks)[:, 0] for masks in seen)
    assert torch.equal(first, again)
    assert losses[0] == losses[1] != losses[2]
    assert not torch.equal(first, other)
    assert first.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert float((first == 0).float().mean()) == pytest.approx(0.4, abs=0.03)  # four standard deviations
    assert len({tuple(row) for row in first.tolist()}) == 75


def test_an_evaluation_equals_numpy_over_the_split_and_drops_and_changes_nothing(varied: EncodedDataset) -> None:
    learner = make_learner({"dropout": 0.5}, batch_size=8)
    fit(learner, varied)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    for split, count in (("train", 75), ("validation", 25)):
        sums = learner.evaluate(varied, split)
        batch = varied.batch(split, np.arange(count))
        with torch.no_grad():
            outputs = learner.model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths)).numpy()
        gap = (outputs - batch.targets[:, 0]).astype(float)
        assert sums.samples == count
        np.testing.assert_allclose(sums.of("rmse_units"), (gap**2).sum(axis=0), rtol=1e-5)
        np.testing.assert_allclose(sums.of("mae_units"), np.abs(gap).sum(axis=0), rtol=1e-5)
    assert learner.evaluate(varied, "test").samples == 0
    assert all(torch.equal(before[name], value) for name, value in learner.model.state_dict().items())


def test_classes_are_learnt_and_their_errors_counted(labelled: EncodedDataset) -> None:
    learner = make_learner({"loss": "cross_entropy", "hidden_size": 16}, outputs=3, batch_size=8)
    untrained = learner.evaluate(labelled, "validation")
    for epoch in range(15):
        fit(learner, labelled, rate=2e-2, seed=(0, 0, epoch))
    trained = learner.evaluate(labelled, "validation")
    batch = labelled.batch("validation", np.arange(20))
    with torch.no_grad():
        outputs = learner.model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths))
    assert trained.wrong == (outputs.argmax(dim=1).numpy() != batch.targets).sum()
    assert trained.wrong < 6 < untrained.wrong


def test_a_forecast_of_several_steps_and_targets_is_fitted_to_the_windows_that_numpy_cuts(tmp_path: Path) -> None:
    series = np.random.default_rng(0).normal(size=(120, 2)).cumsum(axis=0).astype(np.float32)
    path = tmp_path / "walk.csv"
    path.write_text("a,b\n" + "".join(f"{float(a)!r},{float(b)!r}\n" for a, b in series))
    settings = DataSettings(features=["a", "b"], targets=["a", "b"], lookback=5, horizon=3, split=[0.5, 0.25, 0.25])
    (dataset,) = prepare_in_process([DatasetSource("walk", (str(path),), settings)], tmp_path)
    scaled = (series - series[:60].mean(axis=0)) / series[:60].std(axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(scaled[:60], 8, axis=0).transpose(0, 2, 1).copy()
    learner = make_learner({}, features=2, outputs=6, batch_size=100)
    with torch.no_grad():
        outputs = learner.model(torch.from_numpy(windows[:, :5]), torch.full((53,), 5)).view(-1, 3, 2)
    expected = F.mse_loss(outputs, torch.from_numpy(windows[:, 5:]))
    assert fit(learner, dataset) == pytest.approx(float(expected), rel=1e-5)


def test_bfloat16_follows_float32_closely_but_not_to_the_bit(varied: EncodedDataset) -> None:
    exact, rounded = (fit(make_learner({}, batch_size=8, precision=p), varied) for p in ("float32", "bfloat16"))
    assert rounded == pytest.approx(exact, rel=0.02)
    assert rounded != exact


def test_every_step_is_reported_with_the_number_of_samples(varied: EncodedDataset) -> None:
    steps: list[tuple[int, int]] = []
    learner = make_learner({}, batch_size=30)
    learner.fit_epoch(varied, np.full(3, 1e-3), SEED, lambda step, seen: steps.append((step, seen)))
    assert [step for step, _ in steps] == [0, 1, 2]
    assert np.diff([0, *(seen for _, seen in steps)]).tolist() in ([30, 30, 15], [30, 15, 30], [15, 30, 30])
