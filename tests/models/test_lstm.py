"""The LSTM against torch.nn.LSTM with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from models.lstm import LSTM
from models.settings import ModelSettings

LENGTHS = torch.tensor([7, 1, 4, 12, 12, 3])
DIRECTIONS = {"": "forward_layers", "_reverse": "backward_layers"}


def make(seed: int = 0, features: int = 5, outputs: int = 3, **settings: object) -> LSTM:
    torch.manual_seed(seed)
    return LSTM(ModelSettings(hidden_size=6, **settings), features, outputs)


def padded_batch(features: int = 5) -> Tensor:
    """Return sequences of LENGTHS, padded with zeros."""
    torch.manual_seed(1)
    inputs = torch.randn(len(LENGTHS), int(LENGTHS.max()), features)
    return inputs * (torch.arange(inputs.shape[1]) < LENGTHS[:, None])[..., None]


def torch_lstm(model: LSTM, layers: int, bidirectional: bool) -> nn.LSTM:
    """Return torch's stacked LSTM with the weights of the model, which has a module for each layer and direction."""
    lstm = nn.LSTM(5, 6, layers, batch_first=True, bidirectional=bidirectional)
    weights = {}
    for suffix, modules in DIRECTIONS.items():
        for depth, layer in enumerate(getattr(model, modules)):
            for name, value in layer.named_parameters():
                weights[name.replace("_l0", f"_l{depth}{suffix}")] = value.detach().clone()
    lstm.load_state_dict(weights)
    return lstm


def outputs_of(lstm: nn.LSTM, head: nn.Linear, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Apply the head to the last layer's states after each direction has read the whole sequence."""
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    _, (states, _) = lstm(packed)
    return head(torch.cat([states[-2], states[-1]], dim=1) if lstm.bidirectional else states[-1])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_outputs_and_gradients_equal_those_of_torchs_packed_stacked_lstm(layers: int, bidirectional: bool) -> None:
    model = make(num_layers=layers, bidirectional=bidirectional)
    lstm, head = torch_lstm(model, layers, bidirectional), nn.Linear(model.head.in_features, 3)
    head.load_state_dict(model.head.state_dict())
    inputs = padded_batch().requires_grad_()
    outputs, expected_outputs = model(inputs, LENGTHS), outputs_of(lstm, head, inputs, LENGTHS)
    torch.testing.assert_close(outputs, expected_outputs, rtol=1e-5, atol=1e-6)
    outputs.square().sum().backward()
    inputs_gradient, inputs.grad = inputs.grad, None
    expected_outputs.square().sum().backward()
    torch.testing.assert_close(inputs_gradient, inputs.grad, rtol=1e-4, atol=1e-6)
    for suffix, modules in DIRECTIONS.items():
        for depth, layer in enumerate(getattr(model, modules)):
            for name in ("weight_ih", "weight_hh", "bias_ih"):
                expected = getattr(lstm, f"{name}_l{depth}{suffix}").grad
                torch.testing.assert_close(getattr(layer, f"{name}_l0").grad, expected, rtol=1e-4, atol=1e-5)


def test_one_layer_on_equal_lengths_equals_the_last_output_of_torchs_lstm() -> None:
    model, inputs = make(), torch.randn(4, 9, 5)
    lstm = torch_lstm(model, 1, False)
    torch.testing.assert_close(model(inputs, torch.full((4,), 9)), model.head(lstm(inputs)[0][:, -1]))


@pytest.mark.parametrize("padding", [0.0, 1e6, float("nan")])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_sequence_gives_the_same_alone_and_in_a_batch_with_any_padding(bidirectional: bool, padding: float) -> None:
    model, inputs = make(num_layers=2, bidirectional=bidirectional).eval(), padded_batch()
    inputs[torch.arange(inputs.shape[1]) >= LENGTHS[:, None]] = padding
    together = model(inputs, LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = model(inputs[row : row + 1, :length], length[None])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-6)


def test_padding_puts_nothing_into_the_gradients() -> None:
    model, inputs = make(num_layers=2, bidirectional=True), padded_batch()
    gradients = []
    for padding in (0.0, 50.0):
        inputs[torch.arange(inputs.shape[1]) >= LENGTHS[:, None]] = padding
        model.zero_grad()
        model(inputs, LENGTHS).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_every_step_of_a_sequence_counts_in_both_directions() -> None:
    model, inputs = make(bidirectional=True), padded_batch().requires_grad_()
    model(inputs, LENGTHS).sum().backward()
    reached = inputs.grad.abs().sum(dim=2) > 0
    assert torch.equal(reached, torch.arange(inputs.shape[1]) < LENGTHS[:, None])


def test_dropout_masks_multiply_each_layers_outputs_alike_at_every_step() -> None:
    model, inputs = make(num_layers=2), padded_batch()
    masks = (torch.rand(len(inputs), *model.mask_shape) > 0.3) / 0.7
    first, second = (nn.LSTM(size, 6, batch_first=True) for size in (5, 6))
    first.load_state_dict(model.forward_layers[0].state_dict())
    second.load_state_dict(model.forward_layers[1].state_dict())
    hidden = second(first(inputs)[0] * masks[:, :1])[0] * masks[:, 1:]
    expected = model.head(hidden[torch.arange(len(inputs)), LENGTHS - 1])
    torch.testing.assert_close(model(inputs, LENGTHS, masks), expected)
    torch.testing.assert_close(model(inputs, LENGTHS, torch.ones_like(masks)), model(inputs, LENGTHS))


def test_without_masks_nothing_is_dropped_even_in_training() -> None:
    plain, dropping, inputs = make(), make(dropout=0.9), padded_batch()
    assert torch.equal(plain.train()(inputs, LENGTHS), dropping.train()(inputs, LENGTHS))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_initial_weights_are_glorot_orthogonal_and_a_forget_bias_of_one(bidirectional: bool) -> None:
    model = make(num_layers=2, bidirectional=bidirectional, features=200)
    for layer in [*model.forward_layers, *model.backward_layers]:
        limit = (6 / (layer.input_size + 4 * 6)) ** 0.5
        size = layer.weight_ih_l0.detach().abs()
        assert 0.8 * limit < size.max() <= limit
        assert float(size.mean()) == pytest.approx(limit / 2, rel=0.2)
        torch.testing.assert_close(layer.weight_hh_l0.T @ layer.weight_hh_l0, torch.eye(6), rtol=0, atol=1e-5)
        assert layer.bias_ih_l0.tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12
        assert layer.bias_hh_l0.tolist() == [0.0] * 24
    assert model.head.weight.abs().max() <= (6 / sum(model.head.weight.shape)) ** 0.5
    assert not model.head.bias.any()


def test_the_second_bias_of_each_gate_is_not_trained() -> None:
    model = make(num_layers=2, bidirectional=True)
    untrained = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert len(untrained) == 4
    assert all(name.endswith("bias_hh_l0") for name in untrained)


def test_initial_weights_follow_the_seed() -> None:
    assert torch.equal(make(3).forward_layers[0].weight_ih_l0, make(3).forward_layers[0].weight_ih_l0)
    assert not torch.equal(make(3).forward_layers[0].weight_ih_l0, make(4).forward_layers[0].weight_ih_l0)


@pytest.mark.parametrize(
    ("loss", "horizon", "outputs"), [("mse", 4, 8), ("huber", 0, 2), ("quantile", 4, 24), ("cross_entropy", 0, 9)]
)
def test_the_head_gives_every_step_target_and_level_or_class(loss: str, horizon: int, outputs: int) -> None:
    settings = ModelSettings(loss=loss)
    assert settings.num_outputs(num_targets=2, horizon=horizon, num_classes=9) == outputs
    model = LSTM(settings, 5, outputs)
    assert model(padded_batch(), LENGTHS).shape == (len(LENGTHS), outputs)
