"""Weights of samples in loss, errors and address, against copies of samples, plain torch and scikit-learn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from data_cases import encoded, prepare_frame
from helpers import plan_of, prepare_in_process, run_workers
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, mean_squared_error
from sklearn.utils.class_weight import compute_class_weight

from data.errors import InputError
from data.prepared.class_weights import with_class_weights
from data.prepared.encoding import EncodedDataset
from data.reading.settings import DatasetSource, DataSettings
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows import train
from workflows.fit.device_lane import DeviceLane
from workflows.fit.group import Group
from workflows.fit.lanes import HostLane, Lane
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay
from workflows.fit.retention import NO_RETENTION, Retention
from workflows.recipe.checks import validate
from workflows.recipe.settings import TrainingSettings
from workflows.relay.errors import errors_of

SETTINGS: dict[str, Any] = {
    "time": "step",
    "series": "key",
    "features": ["x"],
    "targets": ["y"],
    "lookback": "all",
    "horizon": 0,
    "scaling": "none",
    "split": [1.0, 0.0, 0.0],
    "split_by": "series",
}
LOSSES = ("mse", "mae", "huber", "quantile")
WEIGHTS = np.array([1.0, 2.0, 3.0, 1.0, 0.0, 2.0, 1.0, 0.0, 1.0, 1.0, 2.0])  # whole numbers, so that samples can be repeated


def sequences(weights: np.ndarray, twice: bool = False, seed: int = 0) -> pd.DataFrame:
    """Return a sequence of 3 to 6 rows for each weight; with `twice`, as many copies of weight 1 as its weight."""
    random, frames = np.random.default_rng(seed), []
    for number, weight in enumerate(weights):
        rows = 3 + number % 4
        frame = pd.DataFrame({"x": random.normal(size=rows), "y": random.normal(), "step": np.arange(rows), "w": 5.0})
        frame.loc[rows - 1, "w"] = weight  # the weight of a sample is that of its last row
        copies = range(int(weight)) if twice else [0]
        frames += [frame.assign(key=f"s{number:03d}_{c}", w=1.0 if twice else frame["w"]) for c in copies]
    return pd.concat(frames, ignore_index=True).astype({"x": np.float32, "y": np.float32})


def dataset_of(frame: pd.DataFrame, folder: Path, **changes: Any) -> EncodedDataset:
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "a.csv", index=False)
    settings = DataSettings(**{**SETTINGS, "weight": "w", **changes})
    return prepare_in_process([DatasetSource("a", (str(folder / "a.csv"),), settings)], folder)[0]


def new_learner(loss: str, batch: int = 64, lane: Lane | None = None, group: Group | None = None) -> Learner:
    torch.manual_seed(0)
    model = ModelSettings(hidden_size=5, loss=loss)  # type: ignore[arg-type]
    training = TrainingSettings(batch_size=batch, shuffle=False, learning_rate=0.01, handover="last")
    learner = Learner(LSTM(model, 1, model.num_levels), model, training, group or Group(), lane=lane)
    learner.micro_batch = 4
    return learner


def fit(learner: Learner, dataset: EncodedDataset, retention: Retention = NO_RETENTION, epochs: int = 3) -> list[float]:
    steps = -(-dataset.num_samples("train") // learner.training.batch_size)
    rates = np.full(steps, 0.01)
    return [learner.fit_epoch(dataset, rates, (0, 1, n), retention=retention).train_loss for n in range(epochs)]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_weight_of_two_is_the_sample_twice_and_a_weight_of_zero_none(tmp_path: Path, loss: str) -> None:
    weighted = dataset_of(sequences(WEIGHTS), tmp_path / "weighted")
    copies = dataset_of(sequences(WEIGHTS, twice=True), tmp_path / "copies")
    assert weighted.num_samples("train") == np.count_nonzero(WEIGHTS)
    assert weighted.prepared.manifest.counts is not None
    assert weighted.prepared.manifest.counts.windows_left_out["weight 0"] == 2
    one, other = new_learner(loss), new_learner(loss)
    np.testing.assert_allclose(fit(one, weighted), fit(other, copies), rtol=1e-5)
    torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), rtol=1e-4, atol=1e-6)
    errors = errors_of(one.evaluate(weighted, "train"), weighted, one.settings)
    expected = errors_of(one.evaluate(copies, "train"), copies, one.settings)
    assert (errors.weighted_error, errors.weighted_loss) == (pytest.approx(expected.error), pytest.approx(expected.loss))


def test_an_epoch_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    dataset = dataset_of(sequences(WEIGHTS), tmp_path)
    learner = new_learner("mse", batch=4)
    model = copy.deepcopy(learner.model)
    epoch_losses = fit(learner, dataset, epochs=1)
    weights = torch.from_numpy(WEIGHTS[WEIGHTS > 0] / WEIGHTS[WEIGHTS > 0].mean()).float()
    optimizer, losses = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01), []
    for start in range(0, len(weights), 4):
        optimizer.zero_grad()
        for sample in range(start, min(start + 4, len(weights))):
            one = dataset.batch("train", np.array([sample]))
            outputs = model(torch.from_numpy(one.inputs), torch.from_numpy(one.lengths))
            losses.append(weights[sample] * F.mse_loss(outputs, torch.from_numpy(one.targets)[:, 0]))
        (torch.stack(losses[start:]).mean()).backward()
        optimizer.step()
    assert epoch_losses[0] == pytest.approx(float(torch.stack(losses).mean().detach()), rel=1e-5)
    torch.testing.assert_close(learner.model.state_dict(), model.state_dict(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "mae", "quantile"])
def test_weighted_errors_are_those_of_scikit_learn(tmp_path: Path, loss: str) -> None:
    dataset = dataset_of(sequences(WEIGHTS), tmp_path)
    learner, weights = new_learner(loss), WEIGHTS[WEIGHTS > 0]
    batch = dataset.batch("train", np.arange(len(weights)))
    with torch.no_grad():
        outputs = learner.model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths)).numpy()
    truth = batch.targets[:, 0, 0]
    errors = errors_of(learner.evaluate(dataset, "train"), dataset, learner.settings)
    for weighted, error in ((weights, errors.weighted_error), (None, errors.error)):
        if loss == "quantile":
            each = [
                mean_pinball_loss(truth, outputs[:, column], sample_weight=weighted, alpha=level)
                for column, level in enumerate(learner.settings.quantiles)
            ]
            assert error == pytest.approx(np.mean(each), rel=1e-5)
        else:
            measure = mean_squared_error if loss == "mse" else mean_absolute_error
            assert error == pytest.approx(measure(truth, outputs[:, 0], sample_weight=weighted), rel=1e-5)


def pair_of(folder: Path) -> list[EncodedDataset]:
    """Return a dataset with weights and one without."""
    second = sequences(np.ones(9), seed=1).drop(columns="w")
    return [dataset_of(sequences(WEIGHTS), folder / "1"), dataset_of(second, folder / "2", weight=None)]


def replaying(datasets: list[EncodedDataset]) -> Retention:
    return Retention(Replay((datasets[0],), [np.arange(6)], 0.5, 0.7))


def fitted(folder: str) -> dict[str, Any]:
    """Return a worker's results after two epochs of either dataset, with the other one replayed."""
    results: dict[str, Any] = {}
    for order in (1, -1):
        datasets, learner = pair_of(Path(folder))[::order], new_learner("mse", 4, group=Group.current())
        losses = fit(learner, datasets[1], replaying(datasets), epochs=2)
        weights = {name: value.tolist() for name, value in learner.model.state_dict().items()}
        sums = [each.to_tensor().tolist() for each in learner.evaluate_all(datasets, "train")]
        results[str(order)] = {"losses": losses, "weights": weights, "sums": sums}
    return results


@pytest.mark.long
def test_two_workers_do_what_one_does_with_replay_and_micro_batches(tmp_path: Path) -> None:
    alone = fitted(str(tmp_path))
    for result in run_workers(fitted, 2, tmp_path / "group", str(tmp_path)):
        for order, expected in alone.items():
            np.testing.assert_allclose(result[order]["losses"], expected["losses"], rtol=1e-5)
            for name, value in expected["weights"].items():
                np.testing.assert_allclose(result[order]["weights"][name], value, rtol=1e-4, atol=1e-6)
            for sums, expected_sums in zip(result[order]["sums"], expected["sums"], strict=True):
                np.testing.assert_allclose(sums, expected_sums, rtol=1e-5)


@pytest.mark.parametrize("room", [1 << 30, 0])
def test_the_device_lane_applies_weights_with_resident_and_with_streamed_rows(tmp_path: Path, room: int) -> None:
    for order in (1, -1):
        datasets = pair_of(tmp_path)[::order]
        learners = [
            new_learner("huber", 4, lane) for lane in (HostLane(torch.device("cpu")), DeviceLane(torch.device("cpu"), room))
        ]
        losses = [fit(learner, datasets[1], replaying(datasets), epochs=2) for learner in learners]
        assert isinstance(learners[1].lane, DeviceLane)
        assert learners[1].lane.is_resident == bool(room)
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
        torch.testing.assert_close(learners[1].model.state_dict(), learners[0].model.state_dict(), rtol=0, atol=1e-6)
        sums = [torch.stack([each.to_tensor() for each in one.evaluate_all(datasets, "train")]) for one in learners]
        torch.testing.assert_close(sums[1], sums[0], rtol=1e-5, atol=1e-6)


def test_balanced_classes_are_balanced_by_the_weights_of_their_samples(tmp_path: Path) -> None:
    frame = sequences(WEIGHTS)
    frame["y"] = frame["key"].str[3].astype(int) % 3
    prepared = prepare_frame(frame, tmp_path, **SETTINGS, weight="w", classes=True)
    (plain,) = encoded(prepared)
    (encoding,) = with_class_weights([plain.encoding], [prepared], "balanced")
    dataset = EncodedDataset(prepared, encoding)
    batch, weights = dataset.batch("train", np.arange(dataset.num_samples("train"))), WEIGHTS[WEIGHTS > 0]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=batch.targets, sample_weight=weights)
    assert encoding.class_weights == pytest.approx(expected.tolist())
    assert batch.weights == pytest.approx(expected[batch.targets] * weights / weights.mean())
    assert batch.weights is not None
    assert batch.weights.mean() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-0.5", "-0.5 is not a weight"),
        ("", "it is empty"),
        ("inf", "inf is not a weight"),
        ("1e39", "1e.39 is not a weight"),
    ],
)
def test_a_wrong_weight_is_refused_with_its_line_and_value(tmp_path: Path, value: str, message: str) -> None:
    frame = sequences(WEIGHTS).astype({"w": str})
    frame.loc[7, "w"] = value
    with pytest.raises(InputError, match=rf"a\.csv, line 9, weight column 'w': {message}: write a number from 0"):
        dataset_of(frame, tmp_path)
    assert not list(tmp_path.glob("*/manifest.json"))


def test_wrong_weight_columns_are_refused(tmp_path: Path) -> None:
    problems: list[str] = []
    validate(DataSettings, {**SETTINGS, "weight": "y"}, "data", problems)
    assert "'y' is in weight and in targets" in problems[0]
    with pytest.raises(InputError, match="weight 'w' above 0"):
        dataset_of(sequences(np.zeros(4)), tmp_path)
    assert "weight" not in DataSettings(**SETTINGS).decisive()


def test_sample_weights_are_part_of_the_address(tmp_path: Path) -> None:
    keys = set()
    for number, weights in enumerate((WEIGHTS, WEIGHTS + (WEIGHTS == 3), None)):
        frame = sequences(WEIGHTS if weights is None else weights)
        dataset = dataset_of(frame, tmp_path / str(number), weight=None if weights is None else "w")
        keys.add(plan_of([dataset], [1], {}).datasets[0].sha256["train"])
    assert len(keys) == 3


def test_rows_that_frequency_inserts_end_no_sample_and_windows_have_the_weight_of_their_last_row(tmp_path: Path) -> None:
    steps = np.delete(np.arange(20), [8, 9])
    frame = pd.DataFrame({"step": steps, "x": steps * 1.0, "y": steps * 1.0, "w": steps + 1.0})
    settings = {"series": None, "frequency": 1, "lookback": 2, "horizon": 2, "split_by": "time", "features": ["y"]}
    dataset = dataset_of(frame, tmp_path, **settings)
    batch = dataset.batch("train", np.arange(dataset.num_samples("train")))
    ends = batch.inputs[:, -1, 0]
    assert not {8.0, 9.0} & set(ends.tolist())
    assert batch.weights is not None
    np.testing.assert_allclose(batch.weights, (ends + 1) / (ends + 1).mean(), rtol=1e-6)


def test_a_run_of_frames_shows_both_errors_and_predicts_without_weights(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=200, freq="h"), "y": random.normal(size=200)})
    frame["w"] = random.random(200) + (np.arange(200) > 150)
    keys: dict[str, Any] = {"lookback": 6, "horizon": 2, "hidden_size": 4, "epochs": 1}
    result = train({"a": frame}, storage=tmp_path, weight="w", **keys)
    assert result.run.datasets[0].prepared.settings.features == ["y"]
    errors = result.evaluate("test")["datasets"]["a"]
    assert errors["weighted_error"] != errors["error"]
    assert result.result.test["a"].weighted_error == errors["weighted_error"]
    assert len(result.predict(frame.drop(columns="w"))) == 2
    with pytest.raises(InputError, match="there is no column 'weights'"):
        train({"a": frame}, storage=tmp_path / "other", weight="weights", **keys)
