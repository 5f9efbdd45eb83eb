"""The LSTM: sequences of any length in, one forecast from the last valid step out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.added import AddedClasses
from models.channels import put_together, take_apart, width_of_a_series
from models.head import Corrections
from models.known_future import KnownFuture
from models.normalization import normalise, restore
from models.settings import Channels, ModelSettings


class LSTM(nn.Module):
    """An LSTM with a linear head on the output at each sequence's last valid step.

    Each gate has one trained bias: torch's second one stays zero, as in Keras and in the literature. Input weights are
    Glorot uniform, recurrent weights orthogonal, the forget gate's bias 1 (Jozefowicz et al. 2015), the head Glorot.

    Args:
        settings: layers, sizes, loss, and the window normalization before the first layer, inverted after the head.
        num_features: numbers at each step.
        num_outputs: predicted numbers of each sample.
        channels: the indices of the targets among the features; required if settings.needs_channels.
        known: the features that the head sees at the predicted steps; None: none.
    """

    def __init__(
        self,
        settings: ModelSettings,
        num_features: int,
        num_outputs: int,
        channels: Channels | None = None,
        known: KnownFuture | None = None,
    ):
        super().__init__()
        self.settings = settings
        self.channels = channels or Channels(num_features, ())
        if settings.needs_channels and len(self.channels.targets) == 0:
            raise ValueError("window_normalization and channel_independent need to know the channels")
        self.num_series = 1
        if settings.channel_independent:
            self.num_series = self.channels.num_numbers
            num_features, num_outputs = width_of_a_series(num_features, self.channels), num_outputs // self.num_series
        self.dropout = settings.dropout
        self.directions = 2 if settings.bidirectional else 1
        width = settings.hidden_size * self.directions
        sizes = [num_features] + [width] * (settings.num_layers - 1)
        self.forward_layers = nn.ModuleList(nn.LSTM(size, settings.hidden_size, batch_first=True) for size in sizes)
        self.backward_layers = nn.ModuleList(
            nn.LSTM(size, settings.hidden_size, batch_first=True) for size in sizes if settings.bidirectional
        )
        self.width, self.known = width, known
        seen = width + (0 if known is None else known.numbers)
        self.head = nn.Linear(seen, num_outputs)
        self.corrections = Corrections(seen, num_outputs)  # empty at first: see models.head
        self.added = AddedClasses(seen, num_outputs)  # empty at first: see models.added
        for layer in [*self.forward_layers, *self.backward_layers]:
            _initialise(layer)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Return (layers, units) of the dropout masks of one sample, or (series, layers, units) for several series."""
        shape = (len(self.forward_layers), self.width)
        return (self.num_series, *shape) if self.num_series > 1 else shape

    def have_outputs(self, num_outputs: int) -> bool:
        """Add outputs, at zero, to reach so many; returns whether any were added."""
        grown = self.added.grow(num_outputs // self.num_series)
        if grown:
            self.added.to(self.head.weight.device)
            self.corrections.num_outputs = self.added.num_outputs
        return grown

    def forward(
        self,
        inputs: Tensor,
        lengths: Tensor | None,
        masks: Tensor | None = None,
        owners: Tensor | int | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Return outputs (batch, num_outputs) of inputs (batch, steps, features), padded at the end to a common length.

        Steps beyond a sequence's length change nothing; without lengths all steps are valid. `masks` (batch, layers, units)
        multiply the outputs of each layer at every step: dropout with one mask a sequence (Gal and Ghahramani 2016); None
        drops nothing. With independent channels they are (batch, series, layers, units). `owners` (batch,), or one number
        for all, are the datasets with the head corrections to apply; None: no correction. `known` (batch, predicted steps,
        columns) has the known columns, for a model with them.
        """
        settings, level = self.settings, None
        if settings.window_normalization != "none":
            inputs, level = normalise(inputs, lengths, settings.window_normalization, self.channels.num_numbers)
        if settings.channel_independent:
            inputs = take_apart(inputs, self.channels)
            lengths = None if lengths is None else lengths.repeat_interleave(self.num_series)
            masks = masks if masks is None or masks.ndim == 3 else masks.flatten(0, 1)
            owners = owners.repeat_interleave(self.num_series) if isinstance(owners, Tensor) else owners
        summary = self._read(inputs, lengths, masks)
        if self.known is not None:
            assert known is not None
            summary = torch.cat([summary, known.flatten(1).to(summary.dtype)], dim=1)
        outputs: Tensor = self.head(summary)
        if len(self.added):
            outputs = self.added(outputs, summary)
        if owners is not None and len(self.corrections):
            outputs = outputs + self.corrections(summary, owners)
        if settings.channel_independent:
            outputs = put_together(outputs, self.channels, settings.num_levels)
        return outputs if level is None else restore(outputs, level, self.channels.targets, settings.num_levels)

    def _read(self, inputs: Tensor, lengths: Tensor | None, masks: Tensor | None) -> Tensor:
        """Return the layers' output for sequences, each at its last valid step: (sequences, width of the head)."""
        last = None if lengths is None else (lengths - 1).clamp(min=0)
        mirror = None
        if lengths is not None and last is not None and self.directions == 2:
            steps = torch.arange(inputs.shape[1], device=inputs.device)
            # The valid steps of each sequence reversed, the padding unchanged: its own inverse.
            mirror = torch.where(steps < lengths[:, None], last[:, None] - steps, steps)
        hidden = inputs
        for depth, layer in enumerate(self.forward_layers):
            output = layer(hidden)[0]
            if self.directions == 2:
                backward = _mirror(self.backward_layers[depth](_mirror(hidden, mirror))[0], mirror)
                output = torch.cat([output, backward], dim=2)
            hidden = output if masks is None else output * masks[:, depth, None, :]
        summary = hidden[:, -1] if last is None else _rows_at(hidden, last[:, None])[:, 0]
        if self.directions == 2:  # each direction at its last step: the last valid step, and the first
            half = hidden.shape[2] // 2
            summary = torch.cat([summary[:, :half], hidden[:, 0, half:]], dim=1)
        return summary


def _rows_at(hidden: Tensor, steps: Tensor) -> Tensor:
    """Return the rows (batch, count, units) of hidden (batch, all, units) at these steps (batch, count).

    `gather` rather than an index: the backward pass of an index sorts, in a dozen kernels on a GPU.
    """
    return hidden.gather(1, steps[..., None].expand(-1, -1, hidden.shape[2]))


def _mirror(hidden: Tensor, mirror: Tensor | None) -> Tensor:
    """Return the steps of each sequence in the order of `mirror`, or reversed."""
    return hidden.flip(1) if mirror is None else _rows_at(hidden, mirror)


def _initialise(layer: nn.LSTM) -> None:
    size, weights = layer.hidden_size, dict(layer.named_parameters())
    nn.init.xavier_uniform_(weights["weight_ih_l0"])
    nn.init.orthogonal_(weights["weight_hh_l0"])
    nn.init.zeros_(weights["bias_ih_l0"])
    nn.init.zeros_(weights["bias_hh_l0"]).requires_grad_(False)
    with torch.no_grad():
        weights["bias_ih_l0"][size : 2 * size] = 1.0  # the gates are in the order input, forget, cell, output
