"""Columns known over the horizon are inputs of the head, in all lanes, with retention, on any number of workers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import plan_of, prepare_in_process, run_workers

from data.errors import InputError
from data.prepared.encoding import Batch, EncodedDataset
from data.reading.settings import DatasetSource, DataSettings
from models.lstm import LSTM
from models.retention import Anchor, curvature_sum, trained
from models.settings import Channels
from workflows.fit.device_lane import DeviceLane
from workflows.fit.group import Group
from workflows.fit.joint import Joint
from workflows.fit.lanes import HostLane, Lane
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay
from workflows.fit.retention import NO_RETENTION, Retention, Teacher, importance
from workflows.recipe.checks import validate
from workflows.relay.errors import errors_of
from workflows.relay.state import first_model

SETTINGS: dict[str, Any] = {
    "time": "step",
    "features": ["price", "y", "load"],
    "targets": ["y"],
    "known_future": ["price", "load"],
    "lookback": 5,
    "min_lookback": 3,
    "horizon": 2,
    "split": [0.6, 0.2, 0.2],
}
OUTPUTS, CPU = 2, torch.device("cpu")


def frame_of(seed: int = 0, rows: int = 80) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    columns = {name: random.normal(4, 2, rows).round(3) for name in ("load", "y")}
    return pd.DataFrame({"step": np.arange(rows), "price": (random.permutation(rows) / 9) ** 1.5, **columns})


def datasets_of(folder: Path, frames: Sequence[pd.DataFrame], **changes: Any) -> list[EncodedDataset]:
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for number, frame in enumerate(frames):
        frame.to_csv(folder / f"{number}.csv", index=False)
        settings = DataSettings(**{**SETTINGS, **changes})
        sources.append(DatasetSource(f"d{number}", (str(folder / f"{number}.csv"),), settings))
    return prepare_in_process(sources, folder)


def learner_of(
    datasets: list[EncodedDataset], lane: Lane | None = None, group: Group | None = None, **model: Any
) -> Learner:
    training = {"batch_size": 8, "shuffle": False, "handover": "last"}
    plan = plan_of(datasets, [1] * len(datasets), {"hidden_size": 4, **model}, **training)
    learner = Learner(first_model(plan), plan.model, plan.training, group or Group(), lane=lane)
    learner.micro_batch = 5
    return learner


def inputs_of(batch: Batch) -> tuple[Any, ...]:
    """Return the model's inputs from a batch."""
    assert batch.known is not None
    return (*(torch.from_numpy(each) for each in (batch.inputs, batch.lengths)), None, None, torch.from_numpy(batch.known))


def fit(
    learner: Learner, dataset: EncodedDataset, retention: Retention = NO_RETENTION, head: int | None = None
) -> list[float]:
    rates = np.full(-(-dataset.num_samples("train") // 8), 0.01)
    return [learner.fit_epoch(dataset, rates, (0, 1, n), retention=retention, head=head).train_loss for n in range(2)]


def test_a_sample_has_the_scaled_known_columns_of_the_rows_that_it_predicts(tmp_path: Path) -> None:
    frame = frame_of()
    (dataset,) = datasets_of(tmp_path, [frame])
    assert dataset.prepared.settings.features == ["y", "price", "load"]
    train = frame[: int(0.6 * len(frame))]
    for split in ("train", "test"):
        batch = dataset.batch(split, np.arange(dataset.num_samples(split)))
        assert batch.known is not None
        assert batch.known.shape == (len(batch.inputs), 2, 2)
        price = (frame["price"] - train["price"].mean()) / train["price"].std(ddof=0)
        last = batch.inputs[np.arange(len(batch.inputs)), batch.lengths - 1, 1]
        ends = [int(np.abs(price - value).argmin()) for value in last]
        rows = np.array(ends)[:, None] + [1, 2]
        for column, name in enumerate(("price", "load")):
            scaled = (frame[name] - train[name].mean()) / train[name].std(ddof=0)
            np.testing.assert_allclose(batch.known[..., column], scaled.to_numpy()[rows], rtol=1e-4, atol=1e-5)


def test_nothing_else_of_the_predicted_rows_is_seen_and_nothing_behind_them(tmp_path: Path) -> None:
    """Change targets and later rows: the inputs and known values of earlier samples must not change."""
    frame, other = frame_of(), frame_of()
    other.loc[60:, "y"] += 100.0
    other.loc[62:, ["price", "load"]] -= 50.0
    one, two = (datasets_of(tmp_path / str(n), [each])[0] for n, each in enumerate((frame, other)))
    count = one.num_samples("train")
    for split, samples in (("train", np.arange(count)), ("validation", np.arange(12))):
        batch, expected = one.batch(split, samples), two.batch(split, samples)
        np.testing.assert_array_equal(batch.inputs, expected.inputs)
        np.testing.assert_array_equal(batch.known, expected.known)


def test_gaps_of_known_columns_are_filled_like_those_of_other_features_or_drop_the_sample(tmp_path: Path) -> None:
    frame = frame_of()
    frame.loc[20, "price"] = np.nan
    (filled,), (dropped,) = (datasets_of(tmp_path / each, [frame], missing=each) for each in ("interpolate", "drop"))
    batch = filled.batch("train", np.arange(filled.num_samples("train")))
    between = frame["price"].interpolate()
    scaled = (between[20] - filled.encoding.center[1]) / filled.encoding.scale[1]
    assert batch.known is not None
    assert int(np.isclose(batch.known[..., 0], scaled, rtol=1e-5).sum()) == 2  # once at each step
    left_out = dropped.prepared.manifest.counts
    assert left_out is not None
    # Windows that end at rows 18 and 19 predict row 20, those that end at 20 to 24 have it as input.
    assert left_out.windows_left_out["missing input"] == 7


def test_the_head_is_a_linear_layer_on_the_summary_and_the_known_values(tmp_path: Path) -> None:
    (dataset,) = datasets_of(tmp_path, [frame_of()])
    model = learner_of([dataset]).model
    plain = LSTM(model.settings, 3, OUTPUTS)
    state = model.state_dict()
    width = model.settings.hidden_size
    plain.load_state_dict({**state, "head.weight": state["head.weight"][:, :width]})
    batch = dataset.batch("train", np.arange(7))
    inputs = (torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths))
    known = torch.from_numpy(batch.known).flatten(1)
    torch.testing.assert_close(
        model(*inputs, known=torch.from_numpy(batch.known)), plain(*inputs) + known @ state["head.weight"][:, width:].T
    )


def test_an_epoch_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    (dataset,) = datasets_of(tmp_path, [frame_of()])
    learner = learner_of([dataset])
    model, count = copy.deepcopy(learner.model), dataset.num_samples("train")
    losses = fit(learner, dataset)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for epoch in range(2):
        total = 0.0
        for start in range(0, count, 8):
            optimizer.zero_grad()
            batch = dataset.batch("train", np.arange(start, min(start + 8, count)))
            outputs = model(*inputs_of(batch))
            loss = torch.nn.functional.mse_loss(outputs.view(-1, 2, 1), torch.from_numpy(batch.targets))
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(batch.inputs)
        assert losses[epoch] == pytest.approx(total / count, rel=1e-5)
    torch.testing.assert_close(learner.model.state_dict(), model.state_dict(), rtol=1e-4, atol=1e-6)


def retentions(model: LSTM, first: EncodedDataset) -> dict[str, Retention]:
    replay = Replay((first,), [np.arange(9)], 0.5, 0.7)
    weights = {name: value.detach().clone() for name, value in trained(model)}
    weights_of_importance = importance(curvature_sum, model, model.settings, first, np.arange(4), OUTPUTS, (0, 0), Group())
    return {
        "replay and teacher": Retention(replay, Teacher(copy.deepcopy(model), 0.5)),
        "anchor": Retention(anchor=Anchor(weights, weights_of_importance, 2.0)),
    }


@pytest.mark.parametrize("room", [1 << 30, 0])
def test_all_lanes_give_the_same_with_resident_and_with_streamed_rows(tmp_path: Path, room: int) -> None:
    datasets = datasets_of(tmp_path, [frame_of(), frame_of(1)])
    for kind in ("replay and teacher", "anchor"):
        learners = [learner_of(datasets, lane) for lane in (HostLane(CPU), DeviceLane(CPU, room), HostLane(CPU, 2))]
        for learner in learners:
            learner.have_heads([0, 1])
        losses = [fit(each, datasets[1], retentions(each.model, datasets[0])[kind], head=1) for each in learners]
        for other in losses[1:]:
            np.testing.assert_allclose(other, losses[0], rtol=1e-5)
        for learner in learners[1:]:
            torch.testing.assert_close(learner.model.state_dict(), learners[0].model.state_dict(), rtol=0, atol=1e-6)
        sums = [torch.stack([s.to_tensor() for s in each.evaluate_all(datasets, "test", [0, 1])]) for each in learners]
        for other in sums[1:]:
            torch.testing.assert_close(other, sums[0], rtol=1e-5, atol=1e-6)


def fitted(folder: str) -> dict[str, Any]:
    """Return a worker's losses and weights after two epochs with replay, and its error sums."""
    datasets = datasets_of(Path(folder), [frame_of(), frame_of(1)])
    learner = learner_of(datasets, group=Group.current())
    losses = fit(learner, datasets[1], Retention(Replay((datasets[0],), [np.arange(9)], 0.5, 0.7)))
    sums = [each.to_tensor().tolist() for each in learner.evaluate_all(datasets, "test")]
    return {"losses": losses, "sums": sums, "head": learner.model.head.weight.tolist()}


@pytest.mark.long
def test_two_workers_do_what_one_does(tmp_path: Path) -> None:
    alone = fitted(str(tmp_path))
    for result in run_workers(fitted, 2, tmp_path / "group", str(tmp_path)):
        for name, expected in alone.items():
            for value, expected_value in zip(result[name], expected, strict=True):
                np.testing.assert_allclose(value, expected_value, rtol=1e-4, atol=1e-6)


def test_joint_training_keeps_the_known_values_of_each_sample(tmp_path: Path) -> None:
    datasets = datasets_of(tmp_path, [frame_of(), frame_of(1)])
    joint, count = Joint(datasets), datasets[0].num_samples("train")
    batch = joint.batch("train", np.array([count + 3, 2, count, 5]))
    first, second = (each.batch("train", np.arange(6)) for each in datasets)
    assert batch.known is not None
    np.testing.assert_array_equal(batch.known, np.stack([second.known[3], first.known[2], second.known[0], first.known[5]]))  # type: ignore[index]


def test_a_normalised_window_keeps_its_known_columns(tmp_path: Path) -> None:
    (dataset,) = datasets_of(tmp_path, [frame_of()])
    learner = learner_of([dataset], window_normalization="instance")
    assert learner.model.channels == Channels(1, (0,))
    batch = dataset.batch("train", np.arange(4))
    outputs = [
        learner.model(*inputs_of(replace(batch, inputs=batch.inputs + shift)))
        for shift in (np.float32([0, 0, 0]), np.float32([0, 1, 0]))
    ]
    assert not torch.allclose(*outputs)


def test_the_address_depends_on_known_columns_only_if_there_are_some(tmp_path: Path) -> None:
    ways: list[list[str]] = [[], ["price"], ["load"], ["price", "load"]]
    features = ["y", "price", "load"]
    datasets = [
        datasets_of(tmp_path / str(number), [frame_of()], features=features, known_future=way)
        for number, way in enumerate(ways)
    ]
    plans = [plan_of(each, [1], {}) for each in datasets]
    assert len({next(plan.straight_on()).key for plan in plans}) == 4
    assert len({plan.root for plan in plans}) == 3  # one known column, the last feature
    assert plans[0].known is None
    assert "known_future" not in datasets[0][0].prepared.settings.decisive()
    assert len({each[0].prepared.folder.name for each in datasets}) == 4


def test_wrong_known_columns_are_refused() -> None:
    for changes, message in (
        ({"horizon": 0, "features": ["load"]}, "known_future describes the predicted rows and needs horizon >= 1"),
        ({"known_future": ["y"]}, "'y' is in known_future and in targets: what is predicted is not known"),
        ({"static": ["price"]}, "'price' is in known_future and in static"),
        ({"categorical": ["load"]}, "write a column of 0 and 1 for each category"),
        ({"features": ["price", "load"]}, "all features are known_future or static"),
    ):
        problems: list[str] = []
        validate(DataSettings, {**SETTINGS, **changes}, "data", problems)
        assert message in problems[0]


def test_a_model_learns_from_known_columns(tmp_path: Path) -> None:
    """Train on a target that depends on the known column only: with the column the error goes to zero, without it not."""
    frame = frame_of(rows=300)
    frame["y"] = frame["price"] * 2 + 1
    errors = []
    for known in (["price"], []):
        (dataset,) = datasets_of(tmp_path / str(len(known)), [frame], features=["y", "price"], known_future=known)
        learner = learner_of([dataset])
        rates = np.full(-(-dataset.num_samples("train") // 8), 0.03)
        for epoch in range(6):
            learner.fit_epoch(dataset, rates, (0, 0, epoch))
        errors.append(errors_of(learner.evaluate(dataset, "test"), dataset, learner.settings).error)
    assert errors[0] < 0.02 < 0.7 < errors[1]
    with pytest.raises(InputError, match="there is no column 'price'"):
        datasets_of(tmp_path / "absent", [frame.drop(columns="price")])
