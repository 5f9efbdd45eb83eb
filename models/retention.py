"""Retention terms: distillation from a teacher, and a penalty on changes to weights by their importance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.lstm import LSTM
from models.settings import ModelSettings


def distillation_sum(
    outputs: Tensor, teacher: Tensor, settings: ModelSettings, known: Sequence[int] | Tensor | None = None
) -> Tensor:
    """Return the distance of the outputs from the teacher's, summed over the batch: a scalar in float32.

    Both are (batch, num_outputs). For numbers the squared error, averaged over a sample's outputs; for classes the
    Kullback-Leibler divergence from the teacher's probabilities to the student's (Hinton et al. 2015 at temperature 1),
    among the `known` classes, default all (Li and Hoiem 2016). The teacher has no probability for classes that were
    added later.
    """
    outputs, teacher = outputs.float(), teacher.float()
    if settings.classifies:
        if known is not None:
            classes = torch.as_tensor(known, device=outputs.device)
            outputs, teacher = outputs.index_select(1, classes), teacher.index_select(1, classes)
        student = outputs.log_softmax(1)[:, : teacher.shape[1]]
        return F.kl_div(student, teacher.log_softmax(1), reduction="sum", log_target=True)
    return F.mse_loss(outputs, teacher, reduction="sum") / max(outputs.shape[1], 1)


@dataclass(frozen=True)
class Anchor:
    """Weights to stay close to, by parameter, and the importance of each; None: all alike."""

    weights: Mapping[str, Tensor]
    importance: Mapping[str, Tensor] | None
    strength: float

    def _anchored(self, model: LSTM) -> list[tuple[str, torch.nn.Parameter]]:
        """Return the anchored parameters: all but head corrections newer than the weights."""
        return [(name, parameter) for name, parameter in trained(model) if name in self.weights]

    def penalty(self, model: LSTM) -> Tensor:
        """Return strength / 2 times the sum of importance * (weight - anchor)^2 (Kirkpatrick et al. 2017, equation 3)."""
        total = torch.zeros(())
        for name, parameter in self._anchored(model):
            gap = (parameter - self.weights[name]) ** 2
            total = total + (gap if self.importance is None else self.importance[name] * gap).sum()
        return self.strength / 2 * total

    @torch.no_grad()
    def add_gradient(self, model: LSTM) -> None:
        """Add the penalty's gradient, strength * importance * (weight - anchor), to the parameters' gradients."""
        for name, parameter in self._anchored(model):
            assert parameter.grad is not None
            gap = parameter - self.weights[name]
            parameter.grad.add_(gap if self.importance is None else self.importance[name] * gap, alpha=self.strength)


def trained(model: LSTM) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the trained parameters by name."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def curvature_sum(
    model: LSTM,
    samples: Sequence[tuple[Tensor, Tensor, Tensor | None]],
    noise: Sequence[Tensor],
    settings: ModelSettings,
    head: int | None = None,
) -> list[Tensor]:
    """Return the diagonal of the Fisher information of each sample, summed: one float64 tensor for each trained parameter.

    For each sample, the squared gradient of its log-likelihood at a target drawn from the model's forecast instead of the
    observed target (Kunstner et al. 2019), in the units of the loss: its mean over noise is the Gauss-Newton curvature of
    the squared error (used for every loss of numbers), or of the cross entropy. `samples` has (inputs (1, steps, features),
    length (1,), known columns of the predicted rows (1, steps, columns) or None); `noise` has, for each, standard normal
    numbers (num_outputs,), or one uniform number that draws the class. `head` selects a dataset's correction of the head.
    """
    parameters = [parameter for _, parameter in trained(model)]
    sums = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
    model.train()  # cuDNN needs train mode for the backward pass; without a mask nothing is dropped
    for (inputs, length, known), drawn in zip(samples, noise, strict=True):
        outputs = model(inputs, length, owners=head, known=known)[0]
        if settings.classifies:
            chances = outputs.detach().softmax(0).cumsum(0)
            drawn_class = int((chances < drawn).sum().clamp(max=len(chances) - 1))
            value = F.cross_entropy(outputs, torch.tensor(drawn_class, device=outputs.device))
        else:
            value = math.sqrt(2 / len(outputs)) * (outputs * drawn).sum()
        for total, gradient in zip(sums, torch.autograd.grad(value, parameters, allow_unused=True), strict=True):
            if gradient is not None:  # None for head corrections of other datasets
                total += gradient.double() ** 2
    return sums
