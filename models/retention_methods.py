"""The retention methods, one entry each. Importable without torch: functions import it when called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from models.lstm import LSTM
    from models.settings import ModelSettings

    Samples = Sequence[tuple[Tensor, Tensor, Tensor | None]]
    Importance = Callable[[LSTM, Samples, Sequence[Tensor], ModelSettings, int | None], list[Tensor]]


@dataclass(frozen=True)
class RetentionMethod:
    """The effects of a method during training on a later dataset; they can be combined.

    `replays`: samples of earlier datasets are mixed into each batch. `teaches`: the model before the dataset is a teacher
    (models.retention.distillation_sum). `anchors`: changes to the weights are penalised (models.retention.Anchor), weighted
    by `importance`, a sum over samples as in models.retention.curvature_sum; without it all weights count alike.
    `strength` is the default of `retention.strength`.
    """

    description: str = ""
    replays: bool = False
    teaches: bool = False
    anchors: bool = False
    importance: Importance | None = None
    strength: float = 1.0


def _fisher(
    model: LSTM, samples: Samples, noise: Sequence[Tensor], settings: ModelSettings, head: int | None
) -> list[Tensor]:
    from models.retention import curvature_sum

    return curvature_sum(model, samples, noise, settings, head)


# With 1 and a small share, the step at a fourth dataset is mostly noise. On validation splits (plants, ETT; share 0.3) the
# error at the end was 1.06 of joint training's with 0.4, 1.13 with 1.
REPLAY_STRENGTH = 0.4

RETENTION_METHODS: dict[str, RetentionMethod] = {
    "none": RetentionMethod(),
    "replay": RetentionMethod(
        "mix samples of earlier datasets into each batch (Chaudhry et al. 2019)", replays=True, strength=REPLAY_STRENGTH
    ),
    "ewc": RetentionMethod(
        "penalise changes to weights that earlier datasets depend on (Kirkpatrick et al. 2017)",
        anchors=True,
        importance=_fisher,
    ),
    "distill": RetentionMethod(
        "the model before the dataset is a teacher on the new samples (Li and Hoiem 2016)", teaches=True
    ),
    "l2": RetentionMethod("penalise changes to all weights alike", anchors=True),
    "replay+distill": RetentionMethod(
        "replay, with the model before the dataset as a teacher on the replayed samples",
        replays=True,
        teaches=True,
        strength=REPLAY_STRENGTH,
    ),
}
