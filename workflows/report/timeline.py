"""The progress of a run as values: steps, learning rates, losses and errors of each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workflows.recipe.settings import TrainingSettings
from workflows.relay.learning_rate import step_rates
from workflows.results.run_result import StageResult
from workflows.store.kept import EpochRecord


@dataclass(frozen=True)
class EpochLine:
    """One epoch: `rates` has one value for each step, `error` is the validation error on its own dataset."""

    steps: int
    rates: npt.NDArray[np.float64]
    train_loss: float | None
    error: float | None


@dataclass(frozen=True)
class StageLine:
    """The epochs on one dataset; `first_step` counts optimizer steps since the start of the run."""

    dataset: str
    first_step: int
    epochs: tuple[EpochLine, ...]

    @property
    def last_step(self) -> int:
        """Return the number of steps at the end of the stage."""
        return self.first_step + sum(epoch.steps for epoch in self.epochs)


def timeline(
    stages: Sequence[StageResult], epochs: Mapping[str, EpochRecord | None], training: TrainingSettings | None
) -> list[StageLine]:
    """Return the stages of a result; `epochs` has the record of each epoch by key.

    An epoch without a record, or a run without a recipe, counts as one step at the rate in the result.
    """
    stage_lines: list[StageLine] = []
    first_step = 0
    for stage in stages:
        lines = []
        for count, key in enumerate(stage.keys):
            record = epochs.get(key)
            lines.append(
                EpochLine(
                    *_rates(record, stage, count, training, first_step),
                    train_loss=stage.train_loss[count],
                    error=stage.validation_error[count] if count < len(stage.validation_error) else None,
                )
            )
        stage_lines.append(StageLine(stage.dataset, first_step, tuple(lines)))
        first_step = stage_lines[-1].last_step
    return stage_lines


def _rates(
    record: EpochRecord | None, stage: StageResult, count: int, training: TrainingSettings | None, first_step: int
) -> tuple[int, npt.NDArray[np.float64]]:
    last_rate = stage.learning_rates_used[count]
    if record is None or training is None:
        return 1, np.array([last_rate])
    steps = max(-(-record.samples // training.batch_size), 1)
    if training.schedule == "plateau":  # reductions were decided during the run: draw the rates that were used
        return steps, np.linspace(record.first_learning_rate, last_rate, steps)
    planned = steps * (stage.epochs_planned or stage.epochs)
    warmup, schedule = training.warmup_steps, training.schedule
    return steps, step_rates(stage.learning_rate, steps, count * steps, warmup, schedule, planned, first_step)
