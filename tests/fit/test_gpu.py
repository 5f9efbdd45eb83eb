"""On a GPU: the losses of a CPU, and the same weights after going on from a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import epochs_of, outcome, plan_of, prepare_sequences, random_sequences, state_at, walk

from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import make_plan
from workflows.relay.walk import Walker
from workflows.store.store import Store

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")]
DEVICE = "cuda"
MODEL = {"hidden_size": 16, "num_layers": 2, "bidirectional": True, "dropout": 0.2}


def test_a_gpu_gives_the_losses_and_errors_of_a_cpu_and_goes_on_from_its_checkpoints(tmp_path: Path) -> None:
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
        shutil.rmtree(stores["again"] / "checkpoints" / epoch["key"])
    assert walk_on_the_gpu(stores["again"]) == [epoch["key"] for epoch in chain[1:]]
    losses = {name: [epoch["train_loss"] for epoch in epochs_of(plan, folder)] for name, folder in stores.items()}
    errors = {name: [stage.errors for stage in outcome(plan, folder).stages] for name, folder in stores.items()}
    np.testing.assert_allclose(losses["gpu"], losses["cpu"], rtol=1e-3)
    np.testing.assert_allclose(errors["gpu"], errors["cpu"], rtol=1e-3)
    np.testing.assert_allclose(losses["again"], losses["gpu"], rtol=1e-5)
    final = [state_at(chain[-1]["key"], stores[name]) for name in ("gpu", "again")]
    for name, value in final[0].model.items():
        torch.testing.assert_close(final[1].model[name], value, rtol=0, atol=1e-5)
    assert float(final[1].optimizer["step.head.bias"]) == float(final[0].optimizer["step.head.bias"]) == 20


@pytest.mark.parametrize("method", ["replay", "ewc", "distill", "l2", "replay+distill"])
def test_what_is_retained_on_a_gpu_is_what_is_retained_on_a_cpu(method: str, tmp_path: Path) -> None:
    samples = {name: random_sequences(seed, 60, 3, 12) for seed, name in enumerate("abc")}
    datasets = prepare_sequences(samples, tmp_path / "data", split=[0.8, 0.2, 0.0])
    retention = RetentionSettings.model_validate({"method": method, "memory": 20, "strength": 2.0})
    training = TrainingSettings(batch_size=16, learning_rate=3e-3)
    plan = make_plan(0, ModelSettings(hidden_size=8), training, datasets, [1, 1, 1], retention)
    losses = {}
    for device in ("cpu", DEVICE):
        (tmp_path / device).mkdir(exist_ok=True)
        Walker(plan, datasets, Store(str(tmp_path / device)), Group(), lambda event: None, device).walk()
        losses[device] = [epoch["train_loss"] for epoch in epochs_of(plan, tmp_path / device)]
    np.testing.assert_allclose(losses[DEVICE], losses["cpu"], rtol=1e-3)


def test_bfloat16_on_a_gpu_learns_as_float32_does(tmp_path: Path) -> None:
    datasets = prepare_sequences({"a": random_sequences(0, 300, 3, 12)}, tmp_path / "data", split=[0.8, 0.2, 0.0])
    ends = {}
    for precision in ("float32", "bfloat16"):
        plan = plan_of(datasets, [8], {"hidden_size": 16}, batch_size=16, learning_rate=0.01, precision=precision)
        (tmp_path / "runs").mkdir(exist_ok=True)
        Walker(plan, datasets, Store(str(tmp_path / "runs")), Group(), lambda event: None, DEVICE).walk()
        ends[precision] = [(row[0] or {})["error"] for row in outcome(plan, tmp_path / "runs").validation]
    assert ends["bfloat16"][-1] < 0.5 * ends["bfloat16"][0]
    assert ends["bfloat16"][-1] == pytest.approx(ends["float32"][-1], rel=0.2)
