"""Measure forecasts by step, by quantile level and relative to the season, as sums over samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.settings import ModelSettings


def intervals_of(quantiles: Sequence[float]) -> list[tuple[int, int]]:
    """Return the indices of the lower and upper level of each prediction interval, widest first.

    The lowest level is paired with the highest, the second lowest with the second highest, and so on.
    """
    return [(index, len(quantiles) - 1 - index) for index in range(len(quantiles) // 2)]


@dataclass
class ForecastSums:
    """Sums in float64 over the samples of a split, in scaled units except for the naive forecasts.

    By step and target (steps, targets): `absolute`, `squared`, and `relative`, the absolute error divided by the seasonal
    scale of the series, over the `scaled` (targets,) samples that have one. `baselines` (5, steps, targets) has the
    fields of data.samples.baselines.BaselineSums, in order. `pinball` (steps, levels) is averaged over targets; `inside`
    (intervals,) counts the values between two levels.
    """

    absolute: Tensor
    squared: Tensor
    relative: Tensor
    scaled: Tensor
    baselines: Tensor
    pinball: Tensor
    inside: Tensor

    @staticmethod
    def zero(steps: int, num_targets: int, settings: ModelSettings) -> ForecastSums:
        """Return the sums of no samples."""
        levels = len(settings.quantiles) if settings.predicts_quantiles else 0
        both = (steps, num_targets)
        return ForecastSums(
            absolute=torch.zeros(both, dtype=torch.float64),
            squared=torch.zeros(both, dtype=torch.float64),
            relative=torch.zeros(both, dtype=torch.float64),
            scaled=torch.zeros(num_targets, dtype=torch.float64),
            baselines=torch.zeros(5, *both, dtype=torch.float64),
            pinball=torch.zeros(steps, levels, dtype=torch.float64),
            inside=torch.zeros(levels // 2, dtype=torch.float64),
        )

    def add(self, point: Tensor, levels: Tensor | None, targets: Tensor, settings: ModelSettings, scales: Tensor) -> None:
        """Count a batch: point and targets (batch, steps, targets), levels (batch, steps, targets, quantiles).

        `scales` (batch, targets) are in scaled units, NaN where unknown.
        """
        gap = (point - targets).double()
        absolute, known = gap.abs(), scales.isfinite()
        self.absolute += absolute.sum(dim=0).cpu()
        self.squared += gap.square().sum(dim=0).cpu()
        self.relative += torch.where(known[:, None], absolute / scales[:, None], 0.0).sum(dim=0).cpu()
        self.scaled += known.sum(dim=0).cpu()
        if levels is not None:
            asked = torch.tensor(settings.quantiles, device=levels.device)
            away = targets[..., None] - levels
            self.pinball += torch.maximum(asked * away, (asked - 1) * away).double().sum(dim=0).mean(dim=1).cpu()
            for interval, (low, high) in enumerate(intervals_of(settings.quantiles)):
                self.inside[interval] += ((targets >= levels[..., low]) & (targets <= levels[..., high])).sum().cpu()

    def compare_with(self, baselines: Sequence[npt.NDArray[np.float64]]) -> None:
        """Set the sums of the naive forecasts over the same samples, in the order of `baselines`."""
        self.baselines += torch.from_numpy(np.stack(baselines))

    def to_tensor(self) -> Tensor:
        """Return one float64 vector, for an all-reduce."""
        return torch.cat([getattr(self, each.name).flatten() for each in fields(self)])

    def from_tensor(self, sums: Tensor) -> ForecastSums:
        """Return sums from the vector of to_tensor, in the shapes of this object."""
        shaped = [getattr(self, each.name) for each in fields(self)]
        cut = torch.split(sums, [each.numel() for each in shaped])
        return ForecastSums(*(part.view(each.shape) for part, each in zip(cut, shaped, strict=True)))
