"""The relay: which epoch comes next, what is measured, where a dataset hands over. It decides; others do.

`relay` yields what it needs and is sent the answer. The same decisions are driven by three kinds of answers: from the
store alone (what is there already, where does the run go on), by workers that train what the store lacks, and by a test
that makes the answers up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from workflows.chain.plan import Epoch, Plan

Facts = dict[str, Any]


@dataclass(frozen=True)
class Initialise:
    """The untrained state with this key. Answered by its facts."""

    key: str


@dataclass(frozen=True)
class Train:
    """One epoch. Answered by the facts of the state after it, `train_loss` among them."""

    epoch: Epoch


@dataclass(frozen=True)
class Evaluate:
    """The errors of the state `key` on one split of some datasets. Answered by a list of facts, None without samples."""

    key: str
    datasets: tuple[int, ...]
    split: str
    stage: int  # how many stages are done, for the display only


Action = Initialise | Train | Evaluate


@dataclass
class StageOutcome:
    """What came of one dataset's turn."""

    dataset: int
    learning_rate: float
    epochs: list[Facts] = field(default_factory=list)
    errors: list[float | None] = field(default_factory=list)
    handed_over: int = -1  # the number of the epoch that the next dataset starts from
    key: str = ""


@dataclass
class Outcome:
    """What came of a run: its final state, its stages, and the errors of all datasets before and after each stage."""

    key: str
    stages: list[StageOutcome]
    validation: list[list[Facts | None]]
    test: list[Facts | None]


def relay(plan: Plan) -> Generator[Action, Any, Outcome]:
    """Walk all stages of a plan."""
    everything = tuple(range(len(plan.datasets)))
    yield Initialise(plan.root)
    key, stages = plan.root, []
    validation = [(yield Evaluate(key, everything, "validation", 0))]
    for number in range(len(plan.stages)):
        stage = yield from _stage(plan, number, key)
        stages.append(stage)
        key = stage.key
        validation.append((yield Evaluate(key, everything, "validation", number + 1)))
    test = yield Evaluate(key, everything, "test", len(plan.stages))
    return Outcome(key, stages, validation, test)


def _stage(plan: Plan, number: int, key: str) -> Generator[Action, Any, StageOutcome]:
    stage = plan.stages[number]
    outcome = StageOutcome(stage.dataset, stage.learning_rate)
    for count in range(stage.epochs):
        epoch = plan.epoch(key, number, count)
        outcome.epochs.append((yield Train(epoch)))
        (measured,) = yield Evaluate(epoch.key, (stage.dataset,), "validation", number)
        outcome.errors.append(None if measured is None else measured["error"])
        key = epoch.key
        if stops_early(outcome.errors, plan.training.patience):
            break
    outcome.handed_over = best_epoch(outcome.errors) if plan.training.handover == "best" else len(outcome.errors) - 1
    outcome.key = outcome.epochs[outcome.handed_over]["key"]
    return outcome


def best_epoch(errors: list[float | None]) -> int:
    """The number of the epoch with the lowest error, the first of equals; what is no number is worst."""

    def badness(number: int) -> float:
        error = errors[number]
        return math.inf if error is None or math.isnan(error) else error

    return min(range(len(errors)), key=badness)


def stops_early(errors: list[float | None], patience: int) -> bool:
    """Whether the last `patience` epochs have all been no better than the best before them."""
    return patience > 0 and len(errors) - 1 - best_epoch(errors) >= patience


class NotAnsweredError(Exception):
    """The first action that a run still has to do, with `held` epochs behind it; raised by an answer, out of `drive`."""

    def __init__(self, action: Action, held: int = 0):
        self.action = action
        self.held = held
        super().__init__(str(action))


def drive(walk: Generator[Action, Any, Outcome], answer: Callable[[Action], Any]) -> Outcome:
    """Answer every action of a relay until it is done."""
    reply = None
    while True:
        try:
            action = walk.send(reply)
        except StopIteration as done:
            outcome: Outcome = done.value
            return outcome
        reply = answer(action)
