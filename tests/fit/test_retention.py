"""EWC and l2 against formulas; all methods on any number of workers, in the address, and after a resume."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import alone_and_on_workers, epochs_of, outcome, prepare_sequences, random_sequences, walk, weights_hash

from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.retention import Anchor, curvature_sum, trained
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.retention import accumulate, importance
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.plan import Plan, make_plan

METHODS = ["ewc", "distill", "l2", "replay+distill"]


def tiny_model(loss: str = "mse", outputs: int = 3) -> tuple[LSTM, ModelSettings]:
    settings = ModelSettings.model_validate({"hidden_size": 4, "loss": loss})
    torch.manual_seed(1)
    return LSTM(settings, 2, outputs).double(), settings


def samples_of(count: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor, None]]:
    random = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(1, 3 + n, 2, generator=random, dtype=torch.float64), torch.tensor([3 + n]), None) for n in range(count)
    ]


def jacobian(model: LSTM, sample: tuple[torch.Tensor, torch.Tensor, None]) -> list[torch.Tensor]:
    """Return (num_outputs, *shape) for each trained parameter, with one backward pass for each output."""
    outputs, parameters = model(*sample)[0], [parameter for _, parameter in trained(model)]
    rows = [torch.autograd.grad(output, parameters, retain_graph=True) for output in outputs]
    return [torch.stack([row[index] for row in rows]) for index in range(len(parameters))]


def test_the_importance_is_that_of_a_loop_over_samples_and_outputs() -> None:
    """Compare in float64: for squared errors the gradient of the noisy likelihood is the Jacobian times the noise."""
    model, settings = tiny_model()
    samples, noise = samples_of(5), [torch.randn(3, dtype=torch.float64) for _ in range(5)]
    sums = curvature_sum(model, samples, noise, settings)
    for index, total in enumerate(sums):
        expected = torch.zeros_like(total)
        for sample, drawn in zip(samples, noise, strict=True):
            gradient = torch.einsum("o,o...->...", drawn, jacobian(model, sample)[index]) * math.sqrt(2 / 3)
            expected += gradient**2
        torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-12)


def test_the_importance_of_classes_is_that_of_a_class_drawn_from_the_forecast() -> None:
    model, settings = tiny_model("cross_entropy")
    samples = samples_of(4)
    drawn = [torch.tensor([share]) for share in (0.05, 0.5, 0.7, 0.999)]
    sums = curvature_sum(model, samples, drawn, settings)
    for index, total in enumerate(sums):
        expected = torch.zeros_like(total)
        for sample, share in zip(samples, drawn, strict=True):
            chances = model(*sample)[0].detach().softmax(0)
            chosen = int(np.searchsorted(chances.cumsum(0).numpy(), float(share)))
            away = chances - torch.nn.functional.one_hot(torch.tensor(chosen), 3)
            expected += torch.einsum("o,o...->...", away, jacobian(model, sample)[index]) ** 2
        torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-9)


def test_the_importance_is_on_average_the_curvature_of_the_squared_error() -> None:
    """Compare the importance of the head's bias, which is 2 / num_outputs for each output."""
    model, settings = tiny_model()
    noise = [torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in range(600)]
    bias = curvature_sum(model, samples_of(1) * 600, noise, settings)[-1] / 600
    torch.testing.assert_close(bias, torch.full((3,), 2 / 3, dtype=torch.float64), rtol=0.2, atol=0)


def test_the_penalty_is_its_formula_and_its_gradient_that_of_autograd() -> None:
    model, _ = tiny_model()
    weights = {name: parameter.detach() + torch.randn_like(parameter) for name, parameter in trained(model)}
    matters = {name: torch.rand_like(parameter) for name, parameter in trained(model)}
    for importance_ in (matters, None):
        anchor = Anchor(weights, importance_, 0.7)
        expected = sum(
            0.35
            * float(((1.0 if importance_ is None else importance_[name]) * (parameter.detach() - weights[name]) ** 2).sum())
            for name, parameter in trained(model)
        )
        assert anchor.penalty(model).item() == pytest.approx(expected, rel=1e-12)
        gradients = torch.autograd.grad(anchor.penalty(model), [parameter for _, parameter in trained(model)])
        for _, parameter in trained(model):
            parameter.grad = torch.full_like(parameter, 2.0)
        anchor.add_gradient(model)
        for (_, parameter), gradient in zip(trained(model), gradients, strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad, gradient + 2.0)


def test_replay_weighs_an_earlier_dataset_less_than_the_new_one_by_default() -> None:
    strengths = {
        method: RetentionSettings.model_validate({"method": method}).strength for method in [*METHODS, "replay", "none"]
    }
    assert strengths == {"replay": 0.4, "replay+distill": 0.4, "ewc": 1.0, "distill": 1.0, "l2": 1.0, "none": 1.0}
    assert RetentionSettings.model_validate({"method": "replay", "strength": 2.0}).strength == 2.0


def test_online_importance_decays_earlier_importance() -> None:
    current, before = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([4.0, 0.0])}
    assert accumulate(before, current, 0.5)["w"].tolist() == [3.0, 2.0]
    assert accumulate(None, current, 0.5)["w"].tolist() == [1.0, 2.0]


def make_datasets(folder: Path) -> list[EncodedDataset]:
    names = {name: random_sequences(number, 31 + 10 * number, 4, 7) for number, name in enumerate("abc")}
    return prepare_sequences(names, folder / "prepared", split=(0.8, 0.2, 0))


def plan_with(datasets: list[EncodedDataset], method: str, **retention: Any) -> Plan:
    training = TrainingSettings(batch_size=16, learning_rate=0.01)
    settings = RetentionSettings.model_validate({"method": method, "memory": 9, "share": 0.4, "strength": 3.0, **retention})
    return make_plan(0, ModelSettings(hidden_size=5, dropout=0.2), training, datasets, [1, 2, 2], settings)


def losses_and_importance(folder_: str) -> list[Any]:
    """Return the losses of all methods on this group of workers, and the importance of an untrained model."""
    folder, losses = Path(folder_), []
    datasets = make_datasets(folder)
    for method in METHODS:
        plan = plan_with(datasets, method)
        walk(plan, datasets, folder / "runs", Group.current())
        losses.append([epoch.train_loss for epoch in epochs_of(plan, folder / "runs")])
    torch.manual_seed(0)
    model, settings = LSTM(ModelSettings(hidden_size=5), 3, 2), ModelSettings(hidden_size=5)
    weights = importance(curvature_sum, model, settings, datasets[0], np.arange(11), 2, (0, 1), Group.current())
    return [*losses, torch.cat([each.flatten() for each in weights.values()]).tolist()]


@pytest.mark.slow
def test_two_and_three_workers_retain_as_one_does(tmp_path: Path) -> None:
    """Takes about 20 s."""
    alone, on_workers = alone_and_on_workers(losses_and_importance, make_datasets, tmp_path)
    assert len(on_workers) == 5
    for numbers in on_workers:
        for values, expected in zip(numbers, alone, strict=True):
            assert values == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_stage_that_is_resumed_in_its_middle_ends_in_the_same_weights(method: str, tmp_path: Path) -> None:
    datasets = make_datasets(tmp_path)
    plan = plan_with(datasets, method)
    walk(plan, datasets, tmp_path / "whole")
    done = outcome(plan, tmp_path / "whole")
    for drop_kept in (False, True):
        cut = tmp_path / f"cut{drop_kept}"
        shutil.copytree(tmp_path / "whole", cut)
        for facts in [*done.stages[1].epochs[1:], *done.stages[2].epochs]:
            shutil.rmtree(cut / "checkpoints" / facts.key)
        for kept in cut.glob("derived/*/importance-*") if drop_kept else []:
            kept.write_bytes(b"x" * 100)  # damaged: measured again
        assert len(walk(plan, datasets, cut).epochs) == 3
        assert weights_hash(done.key, cut) == weights_hash(done.key, tmp_path / "whole")


def test_the_importance_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import workflows.relay.retention

    datasets, measured = make_datasets(tmp_path), []
    monkeypatch.setattr(
        workflows.relay.retention, "importance", lambda *args: measured.append(args[3].name) or importance(*args)
    )
    walk(plan_with(datasets, "ewc"), datasets, tmp_path / "runs")
    assert measured == ["a", "b"]
    more = plan_with(datasets, "ewc")
    walk(make_plan(0, more.model, more.training, datasets, [1, 2, 3], more.retention), datasets, tmp_path / "runs")
    assert measured == ["a", "b"]


@pytest.mark.parametrize("method", METHODS)
def test_only_settings_that_decide_numbers_are_in_the_address(method: str, tmp_path: Path) -> None:
    datasets = make_datasets(tmp_path)

    def last_key(**retention: Any) -> str:
        return [epoch.key for epoch in plan_with(datasets, method, **retention).straight_on()][-1]

    assert last_key() != last_key(strength=2.0)
    assert (last_key() != last_key(memory=5)) == (method in ("ewc", "replay+distill"))
    assert (last_key() != last_key(share=0.9)) == (method == "replay+distill")
    assert (last_key() != last_key(importance_decay=0.5)) == (method == "ewc")
    first = [next(plan_with(datasets, each).straight_on()).key for each in (*METHODS, "none")]
    assert len(set(first)) == 1


@pytest.mark.parametrize(("method", "strength"), [("ewc", 30.0), ("l2", 1.0), ("distill", 5.0), ("replay+distill", 2.0)])
def test_a_retained_dataset_is_forgotten_less(method: str, strength: float, tmp_path: Path) -> None:
    """Train on two datasets with opposite targets that a feature distinguishes: the plain sequence forgets the first."""
    inputs, targets = random_sequences(5, 90)

    def marked(side: float) -> list[np.ndarray]:
        return [np.concatenate([each, np.full((len(each), 1), side, np.float32)], axis=1) for each in inputs]

    sequences = {"a": (marked(1.0), targets), "b": (marked(-1.0), -targets)}
    datasets = prepare_sequences(sequences, tmp_path / "prepared", split=(0.7, 0.3, 0))
    first = {}
    for each in ("none", method):
        settings = RetentionSettings.model_validate({"method": each, "memory": 30, "share": 0.5, "strength": strength})
        training = TrainingSettings(batch_size=8, learning_rate=0.02, decay_rate=1.0)
        plan = make_plan(0, ModelSettings(hidden_size=8), training, datasets, [12, 12], settings)
        walk(plan, datasets, tmp_path / "runs")
        last = outcome(plan, tmp_path / "runs").validation[-1][0]
        assert last is not None
        first[each] = last.error
    assert first[method] < 0.7 * first["none"]
