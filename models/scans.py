"""Run recurrences as torch's scan: torch.export and ONNX then keep the number of steps open, which a layer would fix."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from models.lstm import LSTM


class ScannedLayer(nn.Module):
    """The layer of torch's nn.LSTM, step by step: batch first, one direction, from a zero state."""

    def __init__(self, layer: nn.LSTM):
        super().__init__()
        weights = {name: value.detach().clone() for name, value in layer.named_parameters()}
        self.size = layer.hidden_size
        self.register_buffer("weight", weights["weight_ih_l0"])
        self.register_buffer("recurrent", weights["weight_hh_l0"])
        self.register_buffer("bias", weights["bias_ih_l0"] + weights["bias_hh_l0"])

    weight: Tensor
    recurrent: Tensor
    bias: Tensor

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Return the outputs (batch, steps, units) of inputs (batch, steps, features), as nn.LSTM does."""
        gates = (inputs @ self.weight.T + self.bias).transpose(0, 1)
        recurrent = self.recurrent

        def step(state: tuple[Tensor, Tensor], of_input: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
            hidden, cell = state
            into, forget, new, out = (of_input + hidden @ recurrent.T).chunk(4, dim=1)
            cell = forget.sigmoid() * cell + into.sigmoid() * new.tanh()
            hidden = out.sigmoid() * cell.tanh()
            return (hidden, cell), hidden.clone()

        start = torch.zeros_like(gates[0][:, : self.size])
        _, outputs = scan(step, (start, start.clone()), gates, dim=0)
        return outputs.transpose(0, 1), None


def scanned(model: LSTM) -> LSTM:
    """Return a copy of a model with scans as layers; its outputs are the same up to rounding."""
    changed = copy.deepcopy(model)
    changed.forward_layers = nn.ModuleList(ScannedLayer(cast(nn.LSTM, layer)) for layer in model.forward_layers)
    changed.backward_layers = nn.ModuleList(ScannedLayer(cast(nn.LSTM, layer)) for layer in model.backward_layers)
    return changed


def scanned_carry(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same as models.gaps.carry, computed by a scan."""
    by_step = values.transpose(0, 1)

    def step(state: tuple[Tensor, Tensor], value: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        last, steps = state
        absent = value.isnan()
        last, steps = torch.where(absent, last, value), torch.where(absent, steps + 1, 0.0)
        return (last, steps), (last.clone(), steps.clone())

    nothing = torch.full_like(by_step[0], torch.nan)
    _, (carried, steps) = scan(step, (nothing, torch.zeros_like(nothing)), by_step, dim=0)
    return carried.transpose(0, 1), steps.transpose(0, 1)
