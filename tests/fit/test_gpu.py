"""A GPU gives the losses of a CPU, and the same weights after resuming from a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import epochs_of, outcome, plan_of, prepare_sequences, random_sequences, state_at, walk

from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.device_lane import DeviceLane
from workflows.fit.errors import NonFiniteLossError
from workflows.fit.group import Group
from workflows.fit.lanes import HostLane, Lane
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay
from workflows.fit.retention import NO_RETENTION, Retention, Teacher
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import make_plan
from workflows.relay.walk import Walker
from workflows.store.store import Store

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")]
DEVICE = "cuda"
MODEL = {"hidden_size": 16, "num_layers": 2, "bidirectional": True, "dropout": 0.2}


def test_a_gpu_gives_the_losses_and_errors_of_a_cpu_and_resumes_from_its_checkpoints(tmp_path: Path) -> None:
    samples = {name: random_sequences(seed, 100, 3, 12) for seed, name in enumerate("ab")}
    datasets = prepare_sequences(samples, tmp_path / "data", split=[0.8, 0.2, 0.0])
    plan = plan_of(datasets, [2, 2], MODEL, batch_size=16, learning_rate=3e-3)
    stores = {name: tmp_path / name for name in ("cpu", "gpu", "again")}
    walk(plan, datasets, stores["cpu"])

    def walk_on_the_gpu(folder: Path) -> list[str]:
        folder.mkdir(exist_ok=True)
        return Walker(plan, datasets, Store(str(folder)), Group(), lambda event: None, DEVICE).walk().epochs

    walk_on_the_gpu(stores["gpu"])
    shutil.copytree(stores["gpu"], stores["again"])
    chain = epochs_of(plan, stores["gpu"])
    for epoch in chain[1:]:
        shutil.rmtree(stores["again"] / "checkpoints" / epoch.key)
    assert walk_on_the_gpu(stores["again"]) == [epoch.key for epoch in chain[1:]]
    losses = {name: [epoch.train_loss for epoch in epochs_of(plan, folder)] for name, folder in stores.items()}
    errors = {name: [stage.errors for stage in outcome(plan, folder).stages] for name, folder in stores.items()}
    np.testing.assert_allclose(losses["gpu"], losses["cpu"], rtol=1e-3)
    np.testing.assert_allclose(errors["gpu"], errors["cpu"], rtol=1e-3)
    np.testing.assert_allclose(losses["again"], losses["gpu"], rtol=1e-5)
    final = [state_at(chain[-1].key, stores[name]) for name in ("gpu", "again")]
    for name, value in final[0].model.items():
        torch.testing.assert_close(final[1].model[name], value, rtol=0, atol=1e-5)
    assert float(final[1].optimizer["step.head.bias"]) == float(final[0].optimizer["step.head.bias"]) == 20


@pytest.mark.parametrize("method", ["replay", "ewc", "distill", "l2", "replay+distill"])
def test_retention_on_a_gpu_gives_the_losses_of_a_cpu(method: str, tmp_path: Path) -> None:
    samples = {name: random_sequences(seed, 60, 3, 12) for seed, name in enumerate("abc")}
    datasets = prepare_sequences(samples, tmp_path / "data", split=[0.8, 0.2, 0.0])
    retention = RetentionSettings.model_validate({"method": method, "memory": 20, "strength": 2.0})
    training = TrainingSettings(batch_size=16, learning_rate=3e-3)
    plan = make_plan(0, ModelSettings(hidden_size=8), training, datasets, [1, 1, 1], retention)
    losses = {}
    for device in ("cpu", DEVICE):
        (tmp_path / device).mkdir(exist_ok=True)
        Walker(plan, datasets, Store(str(tmp_path / device)), Group(), lambda event: None, device).walk()
        losses[device] = [epoch.train_loss for epoch in epochs_of(plan, tmp_path / device)]
    np.testing.assert_allclose(losses[DEVICE], losses["cpu"], rtol=1e-3)


def test_a_dataset_hands_over_the_same_average_on_a_gpu_as_on_a_cpu(tmp_path: Path, exact_float32: None) -> None:
    """Train eight epochs: the first two store the sums of their tails only, the others both sums."""
    datasets = prepare_sequences({"a": random_sequences(0, 300, 3, 12)}, tmp_path / "data", split=[0.8, 0.2, 0.0])
    plan = plan_of(datasets, [8], {"hidden_size": 16}, batch_size=16, learning_rate=3e-3, handover="average")
    errors = []
    for device in ("cpu", DEVICE):
        (tmp_path / device).mkdir(exist_ok=True)
        Walker(plan, datasets, Store(str(tmp_path / device)), Group(), lambda event: None, device).walk()
        errors.append([each.error for (each,) in outcome(plan, tmp_path / device).validation if each is not None])
    np.testing.assert_allclose(errors[1], errors[0], rtol=1e-3)


def test_bfloat16_on_a_gpu_learns_as_float32_does(tmp_path: Path) -> None:
    datasets = prepare_sequences({"a": random_sequences(0, 300, 3, 12)}, tmp_path / "data", split=[0.8, 0.2, 0.0])
    ends = {}
    for precision in ("float32", "bfloat16"):
        plan = plan_of(datasets, [8], {"hidden_size": 16}, batch_size=16, learning_rate=0.01, precision=precision)
        (tmp_path / "runs").mkdir(exist_ok=True)
        Walker(plan, datasets, Store(str(tmp_path / "runs")), Group(), lambda event: None, DEVICE).walk()
        ends[precision] = [each.error for (each,) in outcome(plan, tmp_path / "runs").validation if each is not None]
    assert ends["bfloat16"][-1] < 0.5 * ends["bfloat16"][0]
    assert ends["bfloat16"][-1] == pytest.approx(ends["float32"][-1], rel=0.2)


PLENTY = 1 << 32


def lane(graphs: bool = True, room: int = PLENTY) -> DeviceLane:
    made = DeviceLane(torch.device(DEVICE), room)
    if not graphs:
        made.graphs = None
    return made


def learner_of(made: Lane, group: Group | None = None, **training: float) -> Learner:
    torch.manual_seed(0)
    settings = ModelSettings.model_validate(MODEL)
    keys = {"batch_size": 8, "gradient_clip": 0.5, "weight_decay": 0.1, **training}
    device = "cpu" if isinstance(made, HostLane) else DEVICE
    return Learner(LSTM(settings, 3, 2), settings, TrainingSettings.model_validate(keys), group or Group(), device, made)


def fit(learner: Learner, dataset: EncodedDataset, retention: Retention = NO_RETENTION, epochs: int = 4) -> list[float]:
    steps = -(-dataset.num_samples("train") // learner.training.batch_size)
    rates = np.linspace(1e-2, 1e-3, steps)
    return [learner.fit_epoch(dataset, rates, (0, 1, n), retention=retention).train_loss for n in range(epochs)]


def agree(learners: list[Learner], losses: list[list[float]], within: float = 1e-5) -> None:
    np.testing.assert_allclose(losses[1], losses[0], rtol=within)
    weights = [{name: value.detach().cpu() for name, value in each.model.named_parameters()} for each in learners]
    torch.testing.assert_close(weights[1], weights[0], rtol=within, atol=10 * within)


@pytest.fixture
def varied(tmp_path: Path) -> list[EncodedDataset]:
    made = {name: random_sequences(seed, 90, 2, 12) for seed, name in enumerate("abc")}
    return prepare_sequences(made, tmp_path / "varied", split=[0.8, 0.2, 0.0])


@pytest.fixture
def equal(tmp_path: Path) -> list[EncodedDataset]:
    made = {name: random_sequences(seed, 90, 9, 9) for seed, name in enumerate("abc")}
    return prepare_sequences(made, tmp_path / "equal", split=[0.8, 0.2, 0.0])


def two_replayed(learner: Learner, datasets: list[EncodedDataset]) -> Retention:
    replay = Replay(datasets[1:], [np.arange(0, 60, 3), np.arange(1, 50, 4)], 0.5, 0.8)
    torch.manual_seed(5)
    before = LSTM(learner.settings, 3, 2).to(learner.device).eval()
    return Retention(replay, Teacher(before, 0.7, of_new=False))


@pytest.mark.parametrize("kind", ["varied", "equal"])
def test_a_graph_gives_the_results_of_single_steps(kind: str, request: pytest.FixtureRequest) -> None:
    datasets: list[EncodedDataset] = request.getfixturevalue(kind)
    learners = [learner_of(lane(graphs)) for graphs in (False, True)]
    agree(learners, [fit(each, datasets[0]) for each in learners])
    made = learners[1].lane
    assert isinstance(made, DeviceLane)
    assert made.graphs is not None
    assert made.graphs.recorded


@pytest.fixture
def exact_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply in float32 as a CPU does: by default cuDNN rounds the factors to ten bits (TF32)."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("kind", ["varied", "equal"])
def test_resident_datasets_with_replay_and_a_teacher_are_fitted_as_on_a_cpu(
    kind: str, request: pytest.FixtureRequest, exact_float32: None
) -> None:
    datasets: list[EncodedDataset] = request.getfixturevalue(kind)
    learners = [learner_of(each) for each in (HostLane(torch.device("cpu")), lane(), lane(graphs=False))]
    losses = [fit(each, datasets[0], two_replayed(each, datasets)) for each in learners]
    agree(learners[:2], losses[:2], 1e-4)
    agree(learners[1:], losses[1:])
    errors = [each.evaluate_all(datasets, "validation") for each in learners[:2]]
    for host, device in zip(*errors, strict=True):
        torch.testing.assert_close(device.to_tensor(), host.to_tensor(), rtol=1e-4, atol=1e-4)


def test_corrections_of_the_head_are_trained_in_one_graph_for_any_datasets_of_a_step(
    varied: list[EncodedDataset],
) -> None:
    learners, all_losses = [], []
    for graphs in (False, True):
        learner = learner_of(lane(graphs), batch_size=2)
        learner.have_heads([0, 1, 2])
        replay = Retention(Replay(varied[1:], [np.arange(0, 60, 3), np.arange(1, 50, 4)], 0.5, 0.8))
        rates = np.full(36, 1e-3)
        losses = [learner.fit_epoch(varied[0], rates, (0, 1, n), retention=replay, head=2).train_loss for n in range(4)]
        learners.append(learner)
        all_losses.append(losses)
    agree(learners, all_losses)


def test_rows_that_do_not_fit_are_copied_while_the_step_before_runs(
    varied: list[EncodedDataset], equal: list[EncodedDataset]
) -> None:
    for datasets in (varied, equal):
        learners = [learner_of(lane(room=room)) for room in (PLENTY, 0)]
        agree(learners, [fit(each, datasets[0], two_replayed(each, datasets)) for each in learners])


class Half(Group):
    """The first of two workers without the second: the NCCL sum has this worker's values only."""

    def __init__(self) -> None:
        super().__init__(0, 2)


def test_the_sum_over_workers_is_taken_between_two_graphs(varied: list[EncodedDataset], tmp_path: Path) -> None:
    import torch.distributed as dist

    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        learners = [learner_of(lane(graphs), Half()) for graphs in (False, True)]
        agree(learners, [fit(each, varied[0]) for each in learners])
    finally:
        dist.destroy_process_group()


def test_a_step_that_is_not_finite_is_named_exactly(tmp_path: Path) -> None:
    inputs, targets = random_sequences(1, 900)
    targets[733] = 1e30  # its square overflows, in the 92nd batch of eight
    (dataset,) = prepare_sequences({"bad": (inputs, targets)}, tmp_path)
    learner = learner_of(lane())
    learner.training = TrainingSettings(batch_size=8, shuffle=False)
    with pytest.raises(NonFiniteLossError, match=r"dataset 'bad', epoch 1, step 92 of 113: the loss is inf"):
        learner.fit_epoch(dataset, np.full(113, 1e-5), (0, 0, 0))


def test_a_stage_that_is_resumed_in_its_middle_ends_in_the_same_weights(tmp_path: Path) -> None:
    samples = {name: random_sequences(seed, 100, 3, 12) for seed, name in enumerate("ab")}
    datasets = prepare_sequences(samples, tmp_path / "data", split=[0.8, 0.2, 0.0])
    retention = RetentionSettings.model_validate({"method": "replay", "memory": 30})
    training = TrainingSettings(batch_size=8, learning_rate=3e-3)
    plan = make_plan(0, ModelSettings.model_validate(MODEL), training, datasets, [2, 4], retention)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        if name == "cut":
            shutil.copytree(tmp_path / "whole", tmp_path / "cut", dirs_exist_ok=True)
            for epoch in epochs_of(plan, tmp_path / "whole")[4:]:
                shutil.rmtree(tmp_path / "cut" / "checkpoints" / epoch.key)
        Walker(plan, datasets, Store(str(tmp_path / name)), Group(), lambda event: None, DEVICE).walk()
    key = epochs_of(plan, tmp_path / "whole")[-1].key
    whole, cut = (state_at(key, tmp_path / name) for name in ("whole", "cut"))
    for kind in ("model", "optimizer"):
        for name, value in getattr(whole, kind).items():
            torch.testing.assert_close(getattr(cut, kind)[name], value, rtol=1e-5, atol=1e-6)
