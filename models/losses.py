"""Loss, forecast and errors as sums, which add up exactly over any cut of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.forecast_sums import ForecastSums
from models.metrics import METRICS
from models.settings import ModelSettings


def loss_sum(outputs: Tensor, targets: Tensor, settings: ModelSettings, weights: Tensor | None = None) -> Tensor:
    """Return the loss of each sample, averaged over its numbers and summed over the batch: a scalar in float32.

    outputs (batch, num_outputs); targets (batch, steps, targets), or classes (batch,). `weights` (batch,) multiply the
    loss of each sample.
    """
    outputs = outputs.float()
    if not settings.classifies:
        shape = (*targets.shape, settings.num_levels) if settings.predicts_quantiles else targets.shape
        outputs = outputs.view(shape)
    values = settings.loss_function.values(outputs, targets, settings.quantiles)
    per_sample = values[0].numel() if len(values) else 1
    if weights is None:
        return values.sum() / per_sample
    return (values.flatten(1).sum(dim=1) * weights).sum() / per_sample if values.dim() > 1 else (values * weights).sum()


def forecast(outputs: Tensor, shape: tuple[int, int], settings: ModelSettings) -> Tensor:
    """Return the point forecast (batch, steps, targets) for shape (steps, targets), or the classes (batch,)."""
    outputs = outputs.float()
    if settings.classifies:
        return outputs.argmax(dim=1)
    if settings.predicts_quantiles:
        middle = min(range(len(settings.quantiles)), key=lambda level: abs(settings.quantiles[level] - 0.5))
        return outputs.view(outputs.shape[0], *shape, len(settings.quantiles))[..., middle]
    return outputs.view(outputs.shape[0], *shape)


@dataclass
class ErrorSums:
    """Sums over samples, in float64.

    `loss`, and `metrics` (metrics, targets) with the sums that each metric averages, in scaled units; `wrong` counts the
    samples with a wrongly predicted class. `known` counts the samples in the sum of losses: all but those of a class that
    the model does not have. `forecasts` has more measures of predicted numbers. `weighted` is zero if all samples have
    weight 1; otherwise it has the sums of all weights, of the weights of the `known` samples, of their weighted losses, and
    of the weighted errors: of wrong classes, or of the error that the model is judged by.
    """

    samples: float
    known: float
    loss: float
    wrong: float
    metrics: Tensor
    forecasts: ForecastSums | None = None
    weighted: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))

    @staticmethod
    def zero(num_targets: int, forecasts: ForecastSums | None = None) -> ErrorSums:
        """Return the sums of no samples, with `forecasts` if they are measured."""
        return ErrorSums(0.0, 0.0, 0.0, 0.0, torch.zeros(len(METRICS), num_targets, dtype=torch.float64), forecasts)

    def of(self, metric: str) -> Tensor:
        """Return the sums of a metric (targets,)."""
        return self.metrics[list(METRICS).index(metric)]

    def add(
        self,
        outputs: Tensor,
        targets: Tensor,
        settings: ModelSettings,
        scales: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        """Count a batch: outputs (batch, num_outputs), targets as in loss_sum; a class without an output counts as wrong.

        `scales` (batch, targets) are the seasonal scales of the samples, in scaled units, `weights` (batch,) their
        weights.
        """
        self.samples += len(targets)
        if settings.classifies:
            self.wrong += float((forecast(outputs, (1, 1), settings) != targets).sum())
            known = (targets >= 0) & (targets < outputs.shape[1])  # a later dataset may add the output of this class
            self.known += float(known.sum())
            self.loss += float(loss_sum(outputs[known], targets[known], settings))
            if weights is not None:
                wrong = weights * (forecast(outputs, (1, 1), settings) != targets)
                loss = loss_sum(outputs[known], targets[known], settings, weights[known])
                self._add_weighted(weights, weights[known], loss, wrong)
            return
        self.known += len(targets)
        self.loss += float(loss_sum(outputs, targets, settings))
        point = forecast(outputs, (targets.shape[1], targets.shape[2]), settings)
        gap = (point - targets).double()
        steps = targets.shape[1]
        if weights is not None:
            loss = loss_sum(outputs, targets, settings, weights)
            absolute, squared = gap.abs().flatten(1).mean(dim=1), (gap**2).flatten(1).mean(dim=1)
            error = settings.loss_function.error.of_point(absolute, squared) * weights
            self._add_weighted(weights, weights, loss, loss if settings.predicts_quantiles else error)
        sums = [metric.values(gap).sum(dim=(0, 1)).cpu() / steps for metric in METRICS.values()]
        self.metrics += torch.stack(sums)
        if self.forecasts is not None:
            quantiles = (*targets.shape, settings.num_levels)
            levels = outputs.float().view(quantiles) if settings.predicts_quantiles else None
            unknown = torch.full((len(targets), targets.shape[2]), torch.nan, device=targets.device)
            self.forecasts.add(point, levels, targets, settings, unknown if scales is None else scales)

    def _add_weighted(self, *parts: Tensor) -> None:
        self.weighted += torch.stack([part.double().sum() for part in parts]).cpu()

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return self.from_tensor(self.to_tensor() + other.to_tensor())

    def to_tensor(self) -> Tensor:
        """Return one float64 vector, for an all-reduce."""
        head = torch.tensor([self.samples, self.known, self.loss, self.wrong], dtype=torch.float64)
        more = [] if self.forecasts is None else [self.forecasts.to_tensor()]
        return torch.cat([head, self.weighted, self.metrics.flatten(), *more])

    def from_tensor(self, sums: Tensor) -> ErrorSums:
        """Return sums from the vector of to_tensor, in the shapes of this object."""
        samples, known, loss, wrong = (float(x) for x in sums[:4])
        weighted, metrics, rest = torch.split(sums[4:], [4, self.metrics.numel(), len(sums) - 8 - self.metrics.numel()])
        forecasts = None if self.forecasts is None else self.forecasts.from_tensor(rest)
        return ErrorSums(samples, known, loss, wrong, metrics.view_as(self.metrics), forecasts, weighted)
