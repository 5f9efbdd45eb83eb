"""On a GPU: weights of samples, columns known over the horizon and classes with weights give what they give on a CPU."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from data_cases import encoded, prepare_frame
from helpers import plan_of, prepare_in_process

from data.prepared.class_weights import with_class_weights
from data.prepared.encoding import EncodedDataset
from data.reading.settings import DatasetSource, DataSettings
from workflows.fit.device_lane import DeviceLane, lane_for
from workflows.fit.group import Group
from workflows.fit.lanes import HostLane, Lane
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay
from workflows.fit.retention import Retention, Teacher
from workflows.relay.state import first_model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")]
DEVICE, PLENTY = "cuda", 1 << 32
SETTINGS: dict[str, Any] = {
    "time": "step",
    "features": ["y", "price", "load"],
    "targets": ["y"],
    "known_future": ["price", "load"],
    "weight": "w",
    "lookback": 5,
    "horizon": 2,
    "split": [0.6, 0.2, 0.2],
}


@pytest.fixture(autouse=True)
def exact_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply in float32 as a CPU does, without TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def datasets_of(folder: Path, **changes: Any) -> list[EncodedDataset]:
    sources = []
    for seed in range(2):
        random = np.random.default_rng(seed)
        columns = {name: random.normal(4, 2, 200).round(3) for name in ("y", "price", "load")}
        path = folder / f"{seed}.csv"
        pd.DataFrame({"step": np.arange(200), **columns, "w": random.integers(0, 4, 200)}).to_csv(path, index=False)
        sources.append(DatasetSource(f"d{seed}", (str(path),), DataSettings(**{**SETTINGS, **changes})))
    return prepare_in_process(sources, folder)


def learner_of(datasets: list[EncodedDataset], lane: Lane, device: str, **model: Any) -> Learner:
    training: dict[str, Any] = {"batch_size": 8, "handover": "last", "gradient_clip": 0.5}
    plan = plan_of(datasets, [1] * len(datasets), {"hidden_size": 6, "dropout": 0.2, "num_layers": 2, **model}, **training)
    learner = Learner(first_model(plan), plan.model, plan.training, Group(), device, lane)
    learner.have_heads([0, 1])
    return learner


def fit(learner: Learner, datasets: list[EncodedDataset]) -> list[float]:
    """Return the losses of four epochs of the second dataset, with samples of the first and a teacher."""
    # Moved again, as cuDNN needs the weights in one block.
    before = copy.deepcopy(learner.model).cpu().to(learner.device).eval()
    teacher = Teacher(before, 0.5)
    retention = Retention(Replay((datasets[0],), [np.arange(0, 60, 2)], 0.5, 0.7), teacher)
    rates = np.full(-(-datasets[1].num_samples("train") // 8), 3e-3)
    return [learner.fit_epoch(datasets[1], rates, (0, 1, n), retention=retention, head=1).train_loss for n in range(4)]


def agree(learners: list[Learner], datasets: list[EncodedDataset]) -> None:
    """Check that all learners fit and evaluate like the first."""
    losses = [fit(each, datasets) for each in learners]
    sums = [torch.stack([s.to_tensor() for s in each.evaluate_all(datasets, "validation", [0, 1])]) for each in learners]
    weights = [{name: value.detach().cpu() for name, value in each.model.state_dict().items()} for each in learners]
    for number in range(1, len(learners)):
        np.testing.assert_allclose(losses[number], losses[0], rtol=1e-4)
        torch.testing.assert_close(sums[number], sums[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(weights[number], weights[0], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("min_lookback", [3, None], ids=["padded", "uniform"])
@pytest.mark.parametrize("room", [PLENTY, 0], ids=["resident", "streamed"])
def test_weights_and_known_columns_reach_a_recorded_step(tmp_path: Path, room: int, min_lookback: int | None) -> None:
    datasets = datasets_of(tmp_path, **({} if min_lookback is None else {"min_lookback": min_lookback}))
    assert datasets[1].batch("train", np.arange(3)).weights is not None
    lane = DeviceLane(torch.device(DEVICE), room)
    agree(
        [
            learner_of(datasets, HostLane(torch.device("cpu")), "cpu"),
            learner_of(datasets, lane, DEVICE),
            learner_of(datasets, HostLane(torch.device(DEVICE)), DEVICE),
        ],
        datasets,
    )
    assert lane.is_resident == bool(room)
    assert lane.graphs is not None
    assert lane.graphs.recorded


def test_classes_with_weights_are_gathered_on_the_host(tmp_path: Path) -> None:
    prepared = []
    for seed in range(2):
        random = np.random.default_rng(seed)
        x = random.normal(size=240)
        frame = pd.DataFrame({"step": np.arange(240), "x": x, "y": np.digitize(x + random.normal(size=240), [-1, 1])})
        columns = {"time": "step", "features": ["x"], "targets": ["y"]}
        settings = {**columns, "lookback": 6, "horizon": 0, "split": [0.6, 0.2, 0.2]}
        (tmp_path / str(seed)).mkdir()
        prepared.append(prepare_frame(frame, tmp_path / str(seed), **settings, classes=True))
    plain = [encoded(each)[0] for each in prepared]
    encodings = with_class_weights([each.encoding for each in plain], prepared, "balanced")
    datasets = [EncodedDataset(one, encoding) for one, encoding in zip(prepared, encodings, strict=True)]
    model = {"loss": "cross_entropy", "class_weights": "balanced"}
    learners = [learner_of(datasets, HostLane(torch.device("cpu")), "cpu", **model)]
    lane = lane_for(torch.device(DEVICE), learners[0].settings)
    assert isinstance(lane, HostLane)
    agree([*learners, learner_of(datasets, lane, DEVICE, **model)], datasets)
