"""The losses, one entry each. Importable without torch: functions import it when called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ErrorMeasure:
    """The error that a model is judged by, with its display name.

    `of_point` returns the error of a point forecast from its mean absolute and its mean squared error (numbers or
    arrays). It measures the naive forecasts, and the model unless it predicts classes or quantiles.
    """

    name: str
    of_point: Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Loss:
    """A loss function and its properties.

    `values` returns the loss of each number (batch, ...) from the model's outputs and the targets, both (batch, steps,
    targets), and from the quantile levels. With a loss for quantiles the outputs have one more axis (levels); with one
    for classes they are (batch, classes) and the targets (batch,). The loss of a sample is the mean of its values.
    """

    values: Callable[[Tensor, Tensor, Sequence[float]], Tensor]
    error: ErrorMeasure
    description: str
    for_classes: bool = False
    for_quantiles: bool = False


def _squared(outputs: Tensor, targets: Tensor, levels: Sequence[float]) -> Tensor:  # noqa: ARG001 all losses have the same arguments
    import torch.nn.functional as F

    return F.mse_loss(outputs, targets, reduction="none")


def _absolute(outputs: Tensor, targets: Tensor, levels: Sequence[float]) -> Tensor:  # noqa: ARG001
    import torch.nn.functional as F

    return F.l1_loss(outputs, targets, reduction="none")


def _huber(outputs: Tensor, targets: Tensor, levels: Sequence[float]) -> Tensor:  # noqa: ARG001
    import torch.nn.functional as F

    return F.huber_loss(outputs, targets, reduction="none")


def _pinball(outputs: Tensor, targets: Tensor, levels: Sequence[float]) -> Tensor:
    """Return the pinball loss (Koenker and Bassett 1978)."""
    import torch

    # Filled on the device: a copy from the host may not be part of a captured step.
    shares = torch.stack([torch.full((), level, device=outputs.device) for level in levels])
    gap = targets[..., None] - outputs
    return torch.maximum(shares * gap, (shares - 1) * gap)


def _cross_entropy(outputs: Tensor, targets: Tensor, levels: Sequence[float]) -> Tensor:  # noqa: ARG001
    import torch.nn.functional as F

    return F.cross_entropy(outputs, targets, reduction="none")


MSE = ErrorMeasure("MSE", lambda absolute, squared: squared)
MAE = ErrorMeasure("MAE", lambda absolute, squared: absolute)
# The pinball loss of a point forecast, averaged over symmetric levels, is half its absolute error.
PINBALL = ErrorMeasure("pinball loss", lambda absolute, squared: absolute / 2)
WRONG_CLASSES = ErrorMeasure("share of wrong classes", lambda absolute, squared: absolute)

LOSSES: dict[str, Loss] = {
    "mse": Loss(_squared, MSE, "squared error"),
    "mae": Loss(_absolute, MAE, "absolute error"),
    "huber": Loss(_huber, MSE, "squared error up to 1, linear above"),
    "quantile": Loss(_pinball, PINBALL, "pinball loss of each of `quantiles`", for_quantiles=True),
    "cross_entropy": Loss(_cross_entropy, WRONG_CLASSES, "for classes", for_classes=True),
}
