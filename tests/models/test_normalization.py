"""Window normalization and its inverse, against a NumPy loop over windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.lstm import LSTM
from models.normalization import LEAST_VARIANCE, Level, normalise, restore
from models.settings import Channels, ModelSettings

METHODS = ["last", "instance"]
LENGTHS = torch.tensor([7, 1, 4, 12, 12, 3])
NUMBERS, TARGETS, STEPS = 4, (2, 0), 3  # the last two of six features are not normalised, such as flags


def windows(seed: int = 0, features: int = 6) -> Tensor:
    torch.manual_seed(seed)
    return 3 * torch.randn(len(LENGTHS), 12, features) + 5 * torch.randn(len(LENGTHS), 1, features)


def model_of(method: str, seed: int = 0, **settings: object) -> LSTM:
    torch.manual_seed(seed)
    made = ModelSettings(hidden_size=6, window_normalization=method, **settings)
    num_outputs = made.num_outputs(len(TARGETS), STEPS, 0)
    return LSTM(made, 6, num_outputs, Channels(NUMBERS, TARGETS)).eval()


def loop(inputs: np.ndarray, lengths: np.ndarray, method: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return the normalised valid steps of each window, its shift and its scale, window by window in float64."""
    windows, shifts, scales = [], [], []
    for window, length in zip(inputs.astype(float), lengths, strict=True):
        numbers = window[:length, :NUMBERS]
        shift = numbers[-1] if method == "last" else numbers.mean(axis=0)
        scale = np.ones(NUMBERS) if method == "last" else np.sqrt(numbers.var(axis=0) + LEAST_VARIANCE)
        windows.append(np.concatenate([(numbers - shift) / scale, window[:length, NUMBERS:]], axis=1))
        shifts.append(shift)
        scales.append(scale)
    return windows, np.array(shifts), np.array(scales)


@pytest.mark.parametrize("method", METHODS)
def test_each_window_is_normalised_by_its_own_valid_steps_and_other_features_are_left(method: str) -> None:
    inputs = windows()
    normalised, level = normalise(inputs, LENGTHS, method, NUMBERS)  # type: ignore[arg-type]
    expected, shifts, scales = loop(inputs.numpy(), LENGTHS.numpy(), method)
    for window, length, expected_window in zip(normalised.numpy(), LENGTHS, expected, strict=True):
        np.testing.assert_allclose(window[:length], expected_window, rtol=1e-4, atol=1e-5)
        assert not window[length:, :NUMBERS].any()
    np.testing.assert_allclose(level.shift, shifts, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(level.scale, scales, rtol=1e-5)


@pytest.mark.parametrize("levels", [1, 3])
def test_outputs_of_every_step_and_quantile_are_restored_by_the_level_of_their_own_target(levels: int) -> None:
    random = np.random.default_rng(0)
    outputs = random.normal(size=(5, STEPS, len(TARGETS), levels)).astype(np.float32)
    shift, scale = (random.uniform(0.5, 2, (5, NUMBERS)).astype(np.float32) for _ in range(2))
    level = Level(torch.from_numpy(shift), torch.from_numpy(scale))
    restored = restore(torch.from_numpy(outputs.reshape(5, -1)), level, TARGETS, levels).view(outputs.shape)
    for sample, step, target, quantile in np.ndindex(outputs.shape):
        column = TARGETS[target]
        expected = outputs[sample, step, target, quantile] * scale[sample, column] + shift[sample, column]
        assert float(restored[sample, step, target, quantile]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_model_is_a_plain_one_between_the_loops_normalising_and_restoring(method: str) -> None:
    model, inputs = model_of(method, num_layers=2, bidirectional=True, loss="quantile"), windows()
    plain = LSTM(ModelSettings(hidden_size=6, num_layers=2, bidirectional=True), 6, STEPS * len(TARGETS) * 3)
    plain.load_state_dict(model.state_dict())
    together = model(inputs, LENGTHS)
    expected, shifts, scales = loop(inputs.numpy(), LENGTHS.numpy(), method)
    for row, (window, length) in enumerate(zip(expected, LENGTHS, strict=True)):
        alone = plain(torch.from_numpy(window).float()[None], length[None]).view(STEPS, len(TARGETS), 3).detach().numpy()
        restored = alone * scales[row][list(TARGETS)][:, None] + shifts[row][list(TARGETS)][:, None]
        np.testing.assert_allclose(together[row].detach().numpy(), restored.ravel(), rtol=1e-4, atol=1e-4)


@settings(max_examples=30)
@given(
    st.sampled_from(METHODS),
    st.booleans(),
    st.integers(0, 5),
    st.sampled_from([0.0, -1e6, 1e30, float("inf"), float("nan")]),
    st.integers(0, 1000),
)
def test_padding_changes_no_answer(method: str, alone: bool, more: int, padding: float, seed: int) -> None:
    more_settings = {"channel_independent": True, "bidirectional": True} if alone else {}
    torch.manual_seed(seed)
    features = NUMBERS if alone else 6
    targets = tuple(range(NUMBERS)) if alone else TARGETS
    made = ModelSettings(hidden_size=3, window_normalization=method, **more_settings)
    model = LSTM(made, features, STEPS * len(targets), Channels(NUMBERS, targets)).eval()
    inputs = windows(seed, features)
    padded = torch.full((len(inputs), 12 + more, features), padding)
    for row, length in enumerate(LENGTHS):
        padded[row, :length] = inputs[row, :length]
    together = model(padded, LENGTHS)
    for row, length in enumerate(LENGTHS):
        expected = model(inputs[row : row + 1, :length], length[None])
        torch.testing.assert_close(together[row : row + 1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channel_independent", [False, True])
def test_a_window_at_another_level_has_its_forecast_at_that_level(method: str, channel_independent: bool) -> None:
    torch.manual_seed(0)
    made = ModelSettings(hidden_size=6, window_normalization=method, channel_independent=channel_independent)
    model = LSTM(made, NUMBERS, STEPS * NUMBERS, Channels(NUMBERS, tuple(range(NUMBERS)))).eval()
    inputs, lengths = windows(features=NUMBERS), torch.full((len(LENGTHS),), 12)
    shift = torch.tensor([10.0, -3.0, 0.5, 200.0])
    scale = torch.tensor([2.0, 0.7, 5.0, 1.5]) if method == "instance" else torch.ones(NUMBERS)
    before = model(inputs, lengths).view(-1, STEPS, NUMBERS)
    after = model(inputs * scale + shift, lengths).view(-1, STEPS, NUMBERS)
    torch.testing.assert_close(after, before * scale + shift, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(after, before, rtol=0.1)


def test_a_constant_window_forecasts_its_constant_within_the_least_deviation() -> None:
    for method in METHODS:
        inputs = torch.full((1, 12, 6), 1000.0)
        outputs = model_of(method)(inputs, torch.tensor([12])).detach()
        assert outputs.isfinite().all()
        if method == "instance":
            assert float((outputs - 1000).abs().max()) < 0.01


def test_the_loss_reaches_the_weights_in_the_scaled_units_of_the_targets() -> None:
    """Check that a window with deviation s has s times the gradient of the normalised forecast."""
    model, inputs = model_of("instance"), windows()
    model(inputs, LENGTHS).sum().backward()
    _, level = normalise(inputs, LENGTHS, "instance", NUMBERS)
    expected = level.scale[:, list(TARGETS)].sum(dim=0).repeat(STEPS)
    torch.testing.assert_close(model.head.bias.grad, expected)


def test_a_model_that_does_not_know_its_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="channels"):
        LSTM(ModelSettings(window_normalization="last"), 3, 3)
