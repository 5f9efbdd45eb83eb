"""The metrics of each target in its own unit, one entry each. Importable without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """A metric of the forecasts of each target: a mean over samples and steps, and a function of it.

    `values` returns the numbers to average, from the scaled errors (forecast - target), of any shape. `finish` returns the
    metric in the target's unit, from the mean and from the size of one scaled unit (NumPy arrays with a number for each
    target). `title` is the head of its column.
    """

    title: str
    values: Callable[[Tensor], Tensor]
    finish: Callable[[Any, Any], Any]


METRICS: dict[str, Metric] = {
    "mae_units": Metric("MAE", lambda gap: gap.abs(), lambda mean, scale: mean * scale),
    "rmse_units": Metric("RMSE", lambda gap: gap**2, lambda mean, scale: mean**0.5 * scale),
}
ABSOLUTE, SQUARED = "mae_units", "rmse_units"  # their means are also `Errors.mae` and `Errors.mse`
