"""The relay: decides which epoch comes next, what is evaluated, and which state a dataset hands over.

`relay` yields an action and receives its answer. Three drivers answer: the store alone (what exists, where the run
continues), workers that train what the store lacks, and tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workflows.fit.thirds import averaged_epochs
from workflows.relay.actions import Action, Average, Evaluate, Initialise, Tell, Train
from workflows.relay.guard import Attempt, Verdict, best_attempt, find_breach, seen_error
from workflows.relay.plan import Plan, average_key
from workflows.store.kept import EpochRecord, Errors


@dataclass
class StageOutcome:
    """The outcome of one stage."""

    dataset: int
    learning_rate: float
    epochs: list[EpochRecord] = field(default_factory=list)
    errors: list[float | None] = field(default_factory=list)  # on its validation split, after each epoch
    losses: list[float | None] = field(default_factory=list)
    handed_over: int = -1  # the number of the epoch that the next dataset starts from
    key: str = ""
    attempts: int = 1


@dataclass
class Outcome:
    """The outcome of a run: its final state, its stages, and the errors of all datasets before and after each stage.

    A run that the guard stopped ends before that stage. `test` is empty until everything is done.
    """

    key: str
    stages: list[StageOutcome]
    validation: list[list[Errors | None]]
    test: list[Errors | None]
    verdicts: list[Verdict]

    @property
    def stopped(self) -> bool:
        """Return whether the guard has ended the run."""
        return bool(self.verdicts) and self.verdicts[-1].action == "stop"


@dataclass(frozen=True)
class StageOver:
    """A stage is finished and will not be retried by the guard. The driver gets it and sends no answer."""

    outcome: Outcome


Walk = Generator[Action | StageOver, Any, Outcome]


def relay(plan: Plan) -> Walk:
    """Decide all stages of a plan."""
    everything = tuple(range(len(plan.datasets)))
    yield Initialise(plan.root)
    outcome = Outcome(plan.root, [], [(yield from _errors_after(plan, plan.root, 0))], [], [])
    starts: tuple[str, ...] = ()
    for _ in plan.stages:
        starts += (outcome.key,)
        stage, errors, verdict = yield from _guarded_stage(plan, starts, outcome.validation[-1])
        if verdict is not None:
            outcome.verdicts.append(verdict)
            if verdict.action == "stop":
                break
        outcome.stages.append(stage)
        outcome.validation.append(errors)
        outcome.key = stage.key
        yield StageOver(outcome)
    outcome.test = yield Evaluate(outcome.key, everything, "test", len(outcome.stages))
    return outcome


Tried = tuple[StageOutcome, list[Errors | None], Verdict | None]


def _guarded_stage(plan: Plan, starts: tuple[str, ...], before: list[Errors | None]) -> Generator[Action, Any, Tried]:
    """Decide a stage, repeated if the guard asks for it, with the errors of all datasets after the kept attempt."""
    guard, number = plan.guard, len(starts) - 1
    tried: list[tuple[StageOutcome, list[Errors | None]]] = []
    attempts: list[Attempt] = []
    verdict: Verdict | None = None
    while True:
        trial = plan.again(number, len(tried)) if tried else plan
        stage = yield from _stage(trial, starts)
        errors = yield from _errors_after(plan, stage.key, number + 1)
        tried.append((stage, errors))
        attempts.append(_attempt_of(trial, number, stage, before, errors))
        over = attempts[-1].breach is None or guard.action != "retry" or len(tried) == guard.max_attempts
        if attempts[0].breach is not None:
            verdict = Verdict(number, guard.action, tuple(attempts), best_attempt(attempts))
            yield Tell(verdict, over)
        if over:
            break
    stage, errors = tried[best_attempt(attempts)]
    if errors is not tried[-1][1]:  # so that the last reported errors belong to the kept state
        errors = yield from _errors_after(plan, stage.key, number + 1)
    stage.attempts = len(tried)
    return stage, errors, verdict


def measured_after(plan: Plan, done: int) -> tuple[int, ...]:
    """Return the datasets that are evaluated after `done` stages: all before the first and after the last.

    In between, if training.evaluations is a number: that many, evenly spread over the sequence, those of the last two
    stages and the next one, which transfer and the guard compare, and those that are never trained.
    """
    number, at_most = len(plan.datasets), plan.training.evaluations
    if at_most == "all" or done in (0, len(plan.stages)):
        return tuple(range(number))
    spread = (
        {(2 * index + 1) * number // (2 * at_most) for index in range(at_most)} if at_most < number else set(range(number))
    )
    near = {stage.dataset for stage in plan.stages[max(done - 2, 0) : done + 1]}
    return tuple(sorted(spread | near | (set(range(number)) - {stage.dataset for stage in plan.stages})))


def row_of(plan: Plan, measured: Sequence[int], answers: Sequence[Errors | None]) -> list[Errors | None]:
    """Return the errors of all datasets, None if one was not measured."""
    by_dataset = dict(zip(measured, answers, strict=True))
    return [by_dataset.get(index) for index in range(len(plan.datasets))]


def _errors_after(plan: Plan, key: str, done: int) -> Generator[Action, Any, list[Errors | None]]:
    measured = measured_after(plan, done)
    return row_of(plan, measured, (yield Evaluate(key, measured, "validation", done)))


def _attempt_of(
    plan: Plan, number: int, stage: StageOutcome, before: list[Errors | None], after: list[Errors | None]
) -> Attempt:
    earlier = [each.dataset for each in plan.stages[:number]]
    old, new = ([figure(each, plan.monitor) for each in row] for row in (before, after))
    in_points = plan.monitor == "error" and plan.model.classifies
    breach = find_breach(old, new, earlier, plan.guard.tolerance, in_points, plan.guard.floor)
    if breach is not None and plan.monitor == "loss":
        first, last = before[breach.dataset], after[breach.dataset]
        if first is not None and last is not None:
            breach = replace(breach, errors=(first.error, last.error))
    seen, naive = [*earlier, stage.dataset], [dataset.naive_error for dataset in plan.datasets]
    mean = seen_error([figure(each, "error") for each in after], seen, naive)
    mean_loss = seen_error(new, seen, [None] * len(new)) if plan.monitor == "loss" else None
    return Attempt(stage.learning_rate, plan.retention.strength, stage.key, breach, mean, mean_loss)


def figure(measured: Errors | None, monitor: str) -> float | None:
    """Return the monitored figure of a dataset's errors; None if it was not measured or not finite."""
    return None if measured is None else {"error": measured.error, "loss": measured.loss}[monitor]


def _stage(plan: Plan, starts: tuple[str, ...]) -> Generator[Action, Any, StageOutcome]:
    stage, key = plan.stages[len(starts) - 1], starts[-1]
    outcome = StageOutcome(stage.dataset, stage.learning_rate)
    watched = outcome.losses if plan.monitor == "loss" else outcome.errors
    for count in range(stage.epochs):
        epoch = plan.epoch(starts, key, count, watched)
        outcome.epochs.append((yield Train(epoch)))
        (measured,) = yield Evaluate(epoch.key, (stage.dataset,), "validation", len(starts) - 1)
        outcome.errors.append(figure(measured, "error"))
        outcome.losses.append(figure(measured, "loss"))
        key = epoch.key
        if stops_early(watched, plan.training.patience):
            break
    handover = plan.training.hands_over
    outcome.handed_over = best_epoch(watched) if handover == "best" else len(watched) - 1
    outcome.key = outcome.epochs[outcome.handed_over].key
    if handover == "average":
        outcome.key = (yield average_of([each.key for each in outcome.epochs], len(starts) - 1)).key
    return outcome


def average_of(keys: Sequence[str], stage: int) -> Average:
    """Return the averaged state at the end of a stage with these epochs."""
    epochs = tuple((keys[number], number, whole) for number, whole in averaged_epochs(len(keys)))
    return Average(average_key(keys), keys[-1], epochs, stage)


def best_epoch(errors: list[float | None]) -> int:
    """Return the number of the epoch with the lowest error, the first of equals; NaN is worst."""

    def badness(number: int) -> float:
        error = errors[number]
        return math.inf if error is None or math.isnan(error) else error

    return min(range(len(errors)), key=badness)


def stops_early(errors: list[float | None], patience: int) -> bool:
    """Return whether none of the last `patience` epochs improved on the best before them."""
    return patience > 0 and len(errors) - 1 - best_epoch(errors) >= patience


class NotAnsweredError(Exception):
    """Raised out of `drive` at the first action without an answer, after `held` epochs."""

    def __init__(self, action: Action, held: int = 0):
        self.action = action
        self.held = held
        super().__init__(str(action))


def drive(walk: Walk, answer: Callable[[Action], Any]) -> Outcome:
    """Answer every action of a relay until it is done."""
    for outcome in drive_stages(walk, answer):
        whole = outcome
    return whole


def drive_stages(walk: Walk, answer: Callable[[Action], Any]) -> Iterator[Outcome]:
    """Answer the actions of a relay and pause after each stage with the outcome so far; the last one is complete.

    It is one growing outcome: read it before continuing.
    """
    reply = None
    while True:
        try:
            action = walk.send(reply)
        except StopIteration as done:
            yield done.value
            return
        if isinstance(action, StageOver):
            reply = None
            yield action.outcome
        else:
            reply = answer(action)
