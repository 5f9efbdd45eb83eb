"""A schedule, a loss, a metric and a retention method are one table entry each; an added one is trained and measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import epochs_of, walk
from test_golden_losses import numbers as numbers  # the fixture

from data.prepared.encoding import EncodedDataset
from models.loss_table import LOSSES, MAE, Loss
from models.metrics import METRICS, Metric
from models.retention_methods import RETENTION_METHODS, RetentionMethod
from models.schedules import SCHEDULES, Schedule
from models.settings import ModelSettings
from workflows.recipe.schema import recipe_schema
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.lookup import finished
from workflows.relay.metrics import naive_error
from workflows.relay.plan import Plan, make_plan
from workflows.results.result import result_of
from workflows.store.kept import Errors
from workflows.store.store import Store


def log_cosh(outputs: torch.Tensor, targets: torch.Tensor, levels: Sequence[float]) -> torch.Tensor:
    return torch.log(torch.cosh(outputs - targets))


def output_sensitivity(
    model: Any, samples: Any, noise: Any, settings: ModelSettings, head: int | None
) -> list[torch.Tensor]:
    """Return memory aware synapses (Aljundi et al. 2018): the absolute gradient of the squared norm of the outputs."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
    for inputs, length, known in samples:
        norm = model(inputs, length, owners=head, known=known).square().sum()
        gradients = torch.autograd.grad(norm, parameters, allow_unused=True)
        for total, gradient in zip(sums, gradients, strict=True):
            total += 0 if gradient is None else gradient.double().abs()
    return sums


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "log_cosh", Loss(log_cosh, MAE, "logarithm of the hyperbolic cosine"))
    monkeypatch.setitem(SCHEDULES, "linear", Schedule(lambda rate, step, all_steps: rate * (1 - step / all_steps)))
    monkeypatch.setitem(METRICS, "bias_units", Metric("bias", lambda gap: gap, lambda mean, scale: mean * scale))
    method = RetentionMethod("penalise by sensitivity", anchors=True, importance=output_sensitivity, strength=3.0)
    monkeypatch.setitem(RETENTION_METHODS, "mas", method)


def plan_of(datasets: list[EncodedDataset], loss: str, method: str) -> Plan:
    training = TrainingSettings(learning_rate=0.02, batch_size=16, schedule="linear")
    return make_plan(
        0, ModelSettings(hidden_size=4, loss=loss), training, datasets, [1, 1], RetentionSettings(method=method)
    )


@pytest.mark.usefixtures("entries")
def test_one_entry_each_is_trained_with_measured_and_kept(numbers: list[EncodedDataset], tmp_path: Path) -> None:
    plan = plan_of(numbers, "log_cosh", "mas")
    assert plan.retention.strength == 3.0
    walk(plan, numbers, tmp_path)
    first, *_, anchored = epochs_of(plan, tmp_path)
    steps = -(-numbers[0].num_samples("train") // 16)
    assert (first.first_learning_rate, first.learning_rate) == pytest.approx((0.02, 0.02 * (1 - (steps - 1) / steps)))
    free = plan_of(numbers, "log_cosh", "none")
    walk(free, numbers, tmp_path)
    assert epochs_of(free, tmp_path)[-1].train_loss != anchored.train_loss
    store = Store(str(tmp_path))
    result = result_of("run", plan, numbers, finished(plan, store)).to_json()
    for dataset in numbers:
        errors = result["test"][dataset.name]
        assert errors["error"] == errors["mae"]
        assert errors["naive_error"] == naive_error(dataset, "test", "mae")
        assert all(abs(bias) <= mae for bias, mae in zip(errors["bias_units"], errors["mae_units"], strict=True))
        assert any(errors["bias_units"])


@pytest.mark.usefixtures("entries")
def test_the_recipe_accepts_the_names_and_its_schema_lists_them() -> None:
    text = str(recipe_schema())
    assert all(f"'{name}'" in text for name in ("log_cosh", "mas", "linear"))


def test_an_evaluation_without_a_new_metric_is_repeated_and_both_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, split = Store(str(tmp_path)), "split"
    before = Errors(0.5, 10, by_target={"mae_units": (1.0,), "rmse_units": (2.0,)})
    store.add_evaluations("k", {split: before})
    monkeypatch.setitem(METRICS, "bias_units", Metric("bias", lambda gap: gap, lambda mean, scale: mean * scale))
    kept = store.evaluations("k")[split]
    assert kept == before
    assert not kept.is_current
    after = Errors(0.5, 10, by_target={**before.by_target, "bias_units": (-0.5,)})
    store.add_evaluations("k", {split: after})
    assert store.evaluations("k")[split] == after
    assert after.is_current
    monkeypatch.delitem(METRICS, "bias_units")
    assert store.evaluations("k")[split].is_current
