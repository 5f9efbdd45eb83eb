"""The GPU code path, run on a CPU without graphs, and several threads have the losses, weights and errors of one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import prepare_in_process, prepare_sequences, random_sequences

from data.prepared.encoding import EncodedDataset
from data.reading.settings import DatasetSource, DataSettings
from models.lstm import LSTM
from models.retention import Anchor, trained
from models.settings import Channels, ModelSettings
from workflows.fit.device_lane import DeviceLane
from workflows.fit.errors import NonFiniteLossError
from workflows.fit.group import Group
from workflows.fit.lanes import HostLane, Lane
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay
from workflows.fit.retention import NO_RETENTION, Retention, Teacher
from workflows.recipe.settings import TrainingSettings

CPU = torch.device("cpu")
PLENTY = 1 << 30


def lanes() -> list[Lane]:
    return [HostLane(CPU), DeviceLane(CPU, PLENTY), HostLane(CPU, 3)]


def learner_of(
    lane: Lane, model: dict[str, Any], features: int, outputs: int, channels: Channels | None = None, **training: Any
) -> Learner:
    torch.manual_seed(0)
    settings = ModelSettings(**{"hidden_size": 5, **model})
    network = LSTM(settings, features, outputs, channels)
    learner = Learner(network, settings, TrainingSettings(**{"batch_size": 8, **training}), Group(), lane=lane)
    learner.micro_batch = 6
    return learner


def fit(learner: Learner, dataset: EncodedDataset, retention: Retention = NO_RETENTION) -> list[float]:
    steps = -(-dataset.num_samples("train") // learner.training.batch_size)
    return [
        learner.fit_epoch(dataset, np.linspace(1e-2, 1e-3, steps), (0, 1, epoch), retention=retention).train_loss
        for epoch in range(2)
    ]


def agree(learners: list[Learner], datasets: list[EncodedDataset], losses: list[list[float]]) -> None:
    """Check that all learners have the losses, weights and errors of the first."""
    for others in losses[1:]:
        np.testing.assert_allclose(others, losses[0], rtol=1e-6)
    weights = [dict(learner.model.named_parameters()) for learner in learners]
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=0, atol=1e-6)
    for split in ("train", "validation"):
        errors = [torch.stack([e.to_tensor() for e in each.evaluate_all(datasets, split)]) for each in learners]
        for other in errors[1:]:
            torch.testing.assert_close(other, errors[0], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedDataset]:
    """Return three datasets of sequences of 2 to 9 steps with numbers as targets."""
    made = {name: random_sequences(seed, 60, 2, 9) for seed, name in enumerate("abc")}
    return prepare_sequences(made, tmp_path_factory.mktemp("varied"), split=[0.75, 0.25, 0.0])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedDataset]:
    """Return two datasets of sequences of 3 to 5 steps with three classes."""
    made = {}
    for seed, name in enumerate("ab"):
        inputs, targets = random_sequences(seed, 60, 3, 5, targets=1)
        made[name] = (inputs, np.digitize(targets, [-0.2, 0.2]).astype(np.float32))
    return prepare_sequences(made, tmp_path_factory.mktemp("labelled"), split=[0.75, 0.25, 0.0], classes=True)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> list[EncodedDataset]:
    """Return two datasets with lookback 6 and horizon 2, with gaps, categories, a calendar and flags, in two files each."""
    folder = tmp_path_factory.mktemp("windows")
    random, sources = np.random.default_rng(0), []
    keys: dict[str, Any] = {"features": ["a", "b"], "targets": ["b", "a"], "lookback": 6, "horizon": 2, "frequency": "1h"}
    keys |= {"categorical": ["kind"], "calendar": ["hour"], "missing_flags": True, "missing": "mean", "series": "site"}
    for name in ("one", "two"):
        for site in ("north", "south"):
            rows = ["time,site,a,b,kind"]
            for number, (a, b) in enumerate(random.normal(size=(60, 2)).cumsum(axis=0)):
                hole = "" if number % 11 == 3 else f"{a:.4f}"
                rows.append(f"2024-01-{1 + number // 24:02d} {number % 24:02d}:00,{site},{hole},{b:.4f},{'xyz'[number % 3]}")
            (folder / f"{name}_{site}.csv").write_text("\n".join(rows) + "\n")
        paths = tuple(str(folder / f"{name}_{site}.csv") for site in ("north", "south"))
        sources.append(DatasetSource(name, paths, DataSettings(time="time", split=[0.6, 0.2, 0.2], **keys)))
    return prepare_in_process(sources, folder)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "quantile"])
@pytest.mark.parametrize("normalization", ["none", "last", "instance"])
def test_each_loss_and_normalization_of_different_lengths(
    varied: list[EncodedDataset], loss: str, normalization: str
) -> None:
    model = {"loss": loss, "window_normalization": normalization, "num_layers": 2, "bidirectional": True, "dropout": 0.3}
    channels, outputs = Channels(3, (0, 1)), 2 * (3 if loss == "quantile" else 1)
    training = {"gradient_clip": 0.5, "weight_decay": 0.1}
    learners = [learner_of(lane, model, 3, outputs, channels, **training) for lane in lanes()]
    agree(learners, varied, [fit(learner, varied[0]) for learner in learners])


def test_classes(labelled: list[EncodedDataset]) -> None:
    learners = [learner_of(lane, {"loss": "cross_entropy"}, 3, 3) for lane in lanes()]
    agree(learners, labelled, [fit(learner, labelled[0]) for learner in learners])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_windows_with_holes_categories_calendar_and_flags(windows: list[EncodedDataset], precision: str) -> None:
    features = windows[0].num_features
    learners = [learner_of(lane, {}, features, 4, precision=precision) for lane in lanes()]
    losses = [fit(learner, windows[0]) for learner in learners]
    if precision == "float32":
        agree(learners, windows, losses)
    for others in losses[1:]:
        np.testing.assert_allclose(others, losses[0], rtol=1e-3)


def retention_of(method: str, learner: Learner, datasets: list[EncodedDataset]) -> Retention:
    """Return the retention of a method, with an untrained model as the model before."""
    torch.manual_seed(5)
    size = learner.model.head.out_features
    before = LSTM(learner.settings, datasets[0].num_features, size).eval()
    kept = [np.arange(0, 40, 3), np.arange(1, 30, 4)][: len(datasets) - 1]
    replay = Replay(datasets[1:], kept, 0.5, 0.8)
    known = (0, 2) if learner.settings.loss == "cross_entropy" else None
    weights = {name: value.detach() for name, value in trained(before)}
    matters = {name: torch.full_like(value, 0.3) for name, value in weights.items()}
    return {
        "replay": Retention(replay),
        "distill": Retention(teacher=Teacher(before, 0.7)),
        "replay+distill": Retention(replay, Teacher(before, 0.7, known is not None, known)),
        "ewc": Retention(anchor=Anchor(weights, matters, 0.5)),
        "l2": Retention(anchor=Anchor(weights, None, 0.5)),
    }[method]


@pytest.mark.parametrize("method", ["replay", "distill", "replay+distill", "ewc", "l2"])
@pytest.mark.parametrize("kind", ["varied", "labelled", "windows"])
def test_each_retention(kind: str, method: str, request: pytest.FixtureRequest) -> None:
    datasets: list[EncodedDataset] = request.getfixturevalue(kind)
    outputs = {"varied": 2, "labelled": 3, "windows": 4}[kind]
    model = {"loss": "cross_entropy"} if kind == "labelled" else {"dropout": 0.2}
    learners = [learner_of(lane, model, datasets[0].num_features, outputs) for lane in lanes()]
    losses = [fit(learner, datasets[0], retention_of(method, learner, datasets)) for learner in learners]
    agree(learners, datasets, losses)


@pytest.mark.parametrize("room", [PLENTY, 0])
@pytest.mark.parametrize("owners", ["one", "each", "replayed"])
def test_corrections_of_the_head_and_the_moments_of_those_without_a_sample(
    varied: list[EncodedDataset], owners: str, room: int
) -> None:
    """Use batches of two with one replayed sample, so that most steps have samples of two of the three datasets."""
    learners, losses = [], []
    for lane in (HostLane(CPU), DeviceLane(CPU, room), HostLane(CPU, 2)):
        learner = learner_of(lane, {"dropout": 0.2}, 3, 2, batch_size=2, gradient_clip=1.0)
        learner.have_heads([0, 1, 2])
        retention = retention_of("replay", learner, varied) if owners == "replayed" else NO_RETENTION
        head: Any = {"one": 1, "replayed": 2, "each": lambda samples: samples % 3}[owners]
        rates = np.full(23, 1e-2)
        losses.append(
            [learner.fit_epoch(varied[0], rates, (0, 1, n), retention=retention, head=head).train_loss for n in range(2)]
        )
        learners.append(learner)
    agree(learners, varied, losses)
    host = learners[0].optimizer.state
    for learner in learners[1:]:
        moments = learner.optimizer.state
        for parameter, expected in zip(learner.parameters, learners[0].parameters, strict=True):
            assert bool(moments[parameter]) == bool(host[expected])
            for name, value in host[expected].items():
                torch.testing.assert_close(moments[parameter][name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps_together", [1, 2, 64])
def test_a_step_that_is_not_finite_is_named_exactly_for_any_number_of_steps_read_together(
    steps_together: int, tmp_path: Path
) -> None:
    inputs, targets = random_sequences(1, 50)
    targets[33] = 1e30  # its square overflows, in the fourth batch of ten
    (dataset,) = prepare_sequences({"bad": (inputs, targets)}, tmp_path)
    lane = DeviceLane(CPU, PLENTY)
    lane.steps_together = steps_together
    learner = learner_of(lane, {}, 3, 2, batch_size=10, shuffle=False)
    with pytest.raises(NonFiniteLossError, match=r"dataset 'bad', epoch 3, step 4 of 5: the loss is inf"):
        learner.fit_epoch(dataset, np.full(5, 1e-3), (0, 0, 2))


def test_resident_rows_are_evicted_and_rows_that_do_not_fit_are_gathered_on_the_host(varied: list[EncodedDataset]) -> None:
    from workflows.fit.resident import resident_bytes

    one = resident_bytes(varied[0])
    for room in (0, one, 2 * one, PLENTY):
        device = DeviceLane(CPU, room)
        learners = [learner_of(lane, {}, 3, 2) for lane in (HostLane(CPU), device)]
        losses = [[loss for each in varied for loss in fit(learner, each)] for learner in learners]
        agree(learners, varied, losses)
        assert device.resident.rows.num_bytes <= room


def test_lengths_are_padded_to_few_shapes(varied: list[EncodedDataset]) -> None:
    lane = DeviceLane(CPU, PLENTY)
    learner = learner_of(lane, {}, 3, 2, batch_size=1)
    fit(learner, varied[0])
    shapes = {steps for shape in lane.resident.shapes.values() for _, _, steps in shape}
    assert shapes <= {2, 3, 4, 5, 6, 7, 8, 9}
    assert lane.resident.samples is not None
    assert len(lane.resident.samples.buckets.edges) <= 8


@pytest.mark.parametrize("replays", [False, True])
def test_the_corrections_of_the_head_and_the_sums_of_the_weights(varied: list[EncodedDataset], replays: bool) -> None:
    kept = [np.arange(9), np.arange(5, 20)]
    retention = Retention(Replay(varied[:2], kept, 0.3, 0.4)) if replays else NO_RETENTION
    learners, losses = [learner_of(lane, {"dropout": 0.2}, 3, 2, handover="average") for lane in lanes()], []
    for learner in learners:
        learner.have_heads(range(3))
        steps = -(-varied[2].num_samples("train") // 8)
        seeds = [(0, 2, epoch) for epoch in range(3)]
        rates = np.full(steps, 1e-2)
        losses.append([learner.fit_epoch(varied[2], rates, s, retention=retention, head=2).train_loss for s in seeds])
    agree(learners, varied, losses)
    sums = [learner.step_sums.tensors() for learner in learners if learner.step_sums is not None]
    assert {name.partition(".")[0] for name in sums[0]} == {"tail", "before"}
    for other in sums[1:]:
        torch.testing.assert_close(other, sums[0], rtol=1e-5, atol=1e-5)
    moments = [learner.optimizer.state[learner.model.corrections["0"].weight] for learner in learners]
    assert [bool(each) for each in moments] == [replays] * 3
