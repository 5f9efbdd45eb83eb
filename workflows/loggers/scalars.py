"""The numbers of a run over its steps (learning rate, loss, errors, forgetting) for loggers such as TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from data.prepared.encoding import EncodedDataset
from workflows.relay.actions import Action, Evaluate, Train
from workflows.relay.events import EpochDone, EvaluationDone, RunEvent, epoch_done
from workflows.relay.metrics import forgetting, mean_of, naive_error, scaled
from workflows.relay.plan import Plan
from workflows.store.kept import Errors

Answered = Sequence[tuple[Action, Any]]


class Logger(Protocol):
    """A destination for the numbers of a run. Write errors must not end the run."""

    def log(self, step: int, when: float, numbers: Mapping[str, float]) -> None:
        """Write numbers by name; `step` is the optimizer step of the plan, `when` seconds since 1970."""

    def close(self) -> None:
        """Finish writing."""


class Scalars:
    """Sends each number of a run to the loggers once: first those in the store, then each new event.

    The step is the optimizer step of the plan, so a resumed run continues its curves.
    """

    def __init__(self, loggers: Sequence[Logger], plan: Plan, datasets: Sequence[EncodedDataset], answered: Answered = ()):
        self.loggers, self.plan = loggers, plan
        self.names = [dataset.name for dataset in plan.datasets]
        self.naive = {dataset.name: naive_error(dataset, "validation", plan.model.loss) for dataset in datasets}
        self.offsets = [0]
        for stage in plan.stages:
            self.offsets.append(self.offsets[-1] + stage.epochs * plan.steps_an_epoch(stage))
        self.step, self.stage, self.when = 0, 0, time.time()
        self.written: set[tuple[str, ...]] = set()
        self.rows: list[list[float | None]] = []
        self.last: dict[str, tuple[int, float]] = {}
        for action, answer in answered:
            if isinstance(action, Train):
                self(epoch_done(action.epoch, plan, answer))
            elif isinstance(action, Evaluate):
                self(_evaluation(action, answer, self.names))

    def __call__(self, event: RunEvent) -> None:
        """Write the numbers of an event once, if it has any."""
        if isinstance(event, EpochDone) and self._is_new(event.key):
            self.step = self.offsets[event.stage] + (event.epoch + 1) * self.plan.steps_an_epoch(
                self.plan.stages[event.stage]
            )
            self.stage, self.when = event.stage + 1, event.when
            self._add({"learning_rate": event.learning_rate, "train_loss": event.train_loss})
        elif isinstance(event, EvaluationDone) and event.split == "validation" and self._is_new(event.key, *event.errors):
            self._add_errors(event.stage, dict(event.errors))

    def _is_new(self, *mark: str) -> bool:
        known = mark in self.written
        self.written.add(mark)
        return not known

    def _add_errors(self, stage: int, errors: dict[str, float | None]) -> None:
        relative = {name: scaled(error, self.naive[name]) for name, error in errors.items()}
        numbers = {f"validation_error/{name}": error for name, error in errors.items()}
        numbers |= {f"error_over_naive/{name}": error for name, error in relative.items()}
        if len(errors) == len(self.names) > 1:  # before or after a stage, not after one of its epochs
            if stage != self.stage:
                self.step = self.offsets[stage]
            self.rows[stage:] = [list(relative.values())]
            if stage > 0 and len(self.rows) > stage:
                seen = [row[:stage] for row in self.rows]
                numbers |= {"mean_error_over_naive": mean_of(seen[-1]), "forgetting": forgetting(seen)}
        self._add(numbers)

    def _add(self, numbers: Mapping[str, float | None]) -> None:
        known = {
            tag: number
            for tag, number in numbers.items()
            if number is not None
            and self.last.get(tag) != (self.step, number)  # a stage repeats the numbers of its last epoch
        }
        self.last |= {tag: (self.step, number) for tag, number in known.items()}
        if known:
            for logger in self.loggers:
                logger.log(self.step, self.when, known)

    def close(self) -> None:
        """Close all loggers."""
        for logger in self.loggers:
            logger.close()


def _evaluation(action: Evaluate, answer: Sequence[Errors | None], names: Sequence[str]) -> EvaluationDone:
    """Return the event of an evaluation from the store."""
    errors = {names[n]: None if each is None else each.error for n, each in zip(action.datasets, answer, strict=True)}
    return EvaluationDone(action.stage, action.split, action.key, errors)
