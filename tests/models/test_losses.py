"""The losses and the sums of errors against torch's reductions and direct formulas."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.forecast_sums import ForecastSums
from models.losses import ErrorSums, forecast, loss_sum
from models.settings import ModelSettings

STEPS, TARGETS, CLASSES = 4, 2, 5
LEVELS = [0.1, 0.4, 0.9]


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the pinball loss of Koenker and Bassett (1978), number by number."""
    total = 0.0
    for level, predicted in zip(LEVELS, outputs.view(-1, len(LEVELS)).T, strict=True):
        for guess, truth in zip(predicted.tolist(), targets.flatten().tolist(), strict=True):
            total += level * (truth - guess) if truth > guess else (1 - level) * (guess - truth)
    return torch.tensor(total / outputs.numel())


ORACLES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda outputs, targets: F.mse_loss(outputs, targets.flatten(1)),
    "mae": lambda outputs, targets: F.l1_loss(outputs, targets.flatten(1)),
    "huber": lambda outputs, targets: F.smooth_l1_loss(outputs, targets.flatten(1)),  # the same with its bend at 1
    "quantile": pinball,
    "cross_entropy": F.cross_entropy,
}


def model_settings(loss: str) -> ModelSettings:
    return ModelSettings(loss=loss, quantiles=LEVELS)


def make_batch(loss: str, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return outputs (count, num_outputs) and targets, with errors on both sides of the threshold of the Huber loss."""
    torch.manual_seed(seed)
    width = model_settings(loss).num_outputs(TARGETS, STEPS, CLASSES)
    targets = torch.randint(CLASSES, (count,)) if loss == "cross_entropy" else 2 * torch.randn(count, STEPS, TARGETS)
    return 2 * torch.randn(count, width), targets


@pytest.mark.parametrize("loss", ORACLES)
def test_each_loss_is_the_mean_over_the_numbers_of_a_sample_summed_over_samples(loss: str) -> None:
    outputs, targets = make_batch(loss, 37)
    expected = 37 * ORACLES[loss](outputs, targets)
    torch.testing.assert_close(loss_sum(outputs, targets, model_settings(loss)), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("loss", ORACLES)
def test_the_gradient_of_each_loss_is_that_of_the_formula(loss: str) -> None:
    outputs, targets = make_batch(loss, 9)
    if loss == "quantile":
        levels, gap = torch.tensor(LEVELS), targets[..., None] - outputs.view(9, STEPS, TARGETS, 3)
        expected = (torch.where(gap > 0, -levels, 1 - levels) / (STEPS * TARGETS * 3)).view_as(outputs)
    else:
        free = outputs.clone().requires_grad_()
        (expected,) = torch.autograd.grad(9 * ORACLES[loss](free, targets), free)
    ours = outputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_sum(ours, targets, model_settings(loss)), ours)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", ORACLES)
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 37), max_size=4), seed=st.integers(0, 99))
def test_losses_add_up_over_any_cut_of_a_batch(loss: str, cuts: list[int], seed: int) -> None:
    outputs, targets = make_batch(loss, 37, seed)
    bounds = [0, *sorted(cuts), 37]
    pieces = [
        loss_sum(outputs[low:high], targets[low:high], model_settings(loss)) for low, high in itertools.pairwise(bounds)
    ]
    torch.testing.assert_close(sum(pieces), loss_sum(outputs, targets, model_settings(loss)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "quantile"])
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 23), max_size=4), workers=st.integers(1, 3), seed=st.integers(0, 99))
def test_error_sums_equal_numpys_over_any_cut_and_any_workers(loss: str, cuts: list[int], workers: int, seed: int) -> None:
    outputs, targets = make_batch(loss, 23, seed)
    bounds = [0, *sorted(cuts), 23]
    sums = [ErrorSums.zero(TARGETS) for _ in range(workers)]
    for turn, (low, high) in enumerate(itertools.pairwise(bounds)):
        sums[turn % workers].add(outputs[low:high], targets[low:high], model_settings(loss))
    total = sums[0].from_tensor(torch.stack([each.to_tensor() for each in sums]).sum(dim=0))
    middle = outputs.view(23, STEPS, TARGETS, 3)[..., 1] if loss == "quantile" else outputs.view(23, STEPS, TARGETS)
    gap = middle.numpy().astype(float) - targets.numpy()
    assert total.samples == 23
    np.testing.assert_allclose(total.of("rmse_units"), (gap**2).mean(axis=1).sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(total.of("mae_units"), np.abs(gap).mean(axis=1).sum(axis=0), rtol=1e-6)
    assert total.loss == pytest.approx(23 * float(ORACLES[loss](outputs, targets)), rel=1e-5)
    assert total.wrong == 0


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 23), max_size=4), workers=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_sums_of_forecasts_equal_numpys_over_any_cut_and_any_workers(cuts: list[int], workers: int, seed: int) -> None:
    chosen = model_settings("quantile")
    outputs, targets = make_batch("quantile", 23, seed)
    scales = torch.rand(23, TARGETS, generator=torch.Generator().manual_seed(seed)) + 0.5
    scales[::4, 1] = torch.nan  # a series whose scale is not known
    bounds = [0, *sorted(cuts), 23]
    sums = [ErrorSums.zero(TARGETS, ForecastSums.zero(STEPS, TARGETS, chosen)) for _ in range(workers)]
    for turn, (low, high) in enumerate(itertools.pairwise(bounds)):
        sums[turn % workers].add(outputs[low:high], targets[low:high], chosen, scales[low:high])
    total = sums[0].from_tensor(torch.stack([each.to_tensor() for each in sums]).sum(dim=0)).forecasts
    assert total is not None
    levels, truth = outputs.view(23, STEPS, TARGETS, 3).double().numpy(), targets.double().numpy()
    gap = abs(levels[..., 1] - truth)
    np.testing.assert_allclose(total.absolute, gap.sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(total.squared, (gap**2).sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(total.relative, np.nansum(gap / scales.numpy()[:, None], axis=0), rtol=1e-6)
    np.testing.assert_array_equal(total.scaled, [23, 23 - 6])
    for index, level in enumerate(chosen.quantiles):
        away = truth - levels[..., index]
        np.testing.assert_allclose(
            total.pinball[:, index], np.maximum(level * away, (level - 1) * away).sum(axis=0).mean(axis=1), rtol=1e-5
        )
    assert total.inside.tolist() == [((truth >= levels[..., 0]) & (truth <= levels[..., 2])).sum()]


def test_error_sums_of_classes_count_wrong_predictions_and_unknown_classes() -> None:
    outputs = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 1.0], [9.0, 0.0, 0.0]])
    targets = torch.tensor([0, 2, 2, -1])
    sums = ErrorSums.zero(1)
    sums.add(outputs[:3], targets[:3], model_settings("cross_entropy"))
    sums.add(outputs[3:], targets[3:], model_settings("cross_entropy"))
    assert (sums.samples, sums.wrong) == (4, 2)
    assert sums.loss == pytest.approx(3 * float(F.cross_entropy(outputs[:3], targets[:3])))


def test_the_sums_of_large_sets_keep_their_digits() -> None:
    sums = ErrorSums.zero(1)
    for _ in range(1000):
        sums.add(torch.full((1000, 1), 0.1), torch.zeros(1000, 1, 1), model_settings("mae"))
    np.testing.assert_allclose(sums.of("mae_units"), [1e6 * float(np.float32(0.1))], rtol=1e-12)


def test_the_forecast_has_the_steps_and_targets_in_the_order_of_the_outputs() -> None:
    outputs = torch.arange(16.0).view(2, 8)
    expected = outputs.numpy().reshape(2, STEPS, TARGETS)
    np.testing.assert_array_equal(forecast(outputs, (STEPS, TARGETS), model_settings("mse")), expected)


@pytest.mark.parametrize(("levels", "middle"), [([0.1, 0.5, 0.9], 1), ([0.3], 0), ([0.05, 0.1, 0.2, 0.45], 3)])
def test_the_quantile_forecast_is_the_level_nearest_to_the_median(levels: list[float], middle: int) -> None:
    shaped = torch.randn(6, STEPS, TARGETS, len(levels))
    median = forecast(shaped.flatten(1), (STEPS, TARGETS), ModelSettings(loss="quantile", quantiles=levels))
    assert torch.equal(median, shaped[..., middle])


def test_the_forecast_of_classes_is_the_most_likely_class() -> None:
    outputs = torch.tensor([[0.1, 0.9, 0.0], [2.0, -1.0, 1.0]])
    assert forecast(outputs, (1, 1), model_settings("cross_entropy")).tolist() == [1, 0]


def test_losses_of_bfloat16_outputs_are_summed_in_float32() -> None:
    outputs, targets = make_batch("mse", 1000)
    low = outputs.bfloat16()
    total = loss_sum(low, targets, model_settings("mse"))
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, 1000 * F.mse_loss(low.float(), targets.flatten(1)), rtol=1e-5, atol=0)


@pytest.mark.parametrize("levels", [[0.5, 0.1], [0.1, 0.1], [0.0, 0.5], [0.5, 1.0], []])
def test_quantile_levels_must_rise_between_zero_and_one(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="quantiles"):
        ModelSettings(loss="quantile", quantiles=levels)
