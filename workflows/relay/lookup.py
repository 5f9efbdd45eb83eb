"""Look up a plan's epochs and evaluations in the store, for resume and searches, without torch and Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workflows.relay.actions import Action, Average, Initialise, Tell, Train
from workflows.relay.plan import Plan
from workflows.relay.relay import NotAnsweredError, Outcome, drive, drive_stages, relay
from workflows.store.kept import Errors
from workflows.store.store import Store


def look_up(action: Action, plan: Plan, store: Store) -> Any:
    """Return the store's answer to an action, or None if part of it is missing."""
    if isinstance(action, (Initialise, Average)):
        return store.record(action.key)
    if isinstance(action, Train):
        return store.record(action.epoch.key)
    if isinstance(action, Tell):
        return True
    kept = store.evaluations(action.key)
    answers = [measured(plan, number, action.split, kept) for number in action.datasets]
    return None if False in answers else answers


def measured(plan: Plan, number: int, split: str, kept: Mapping[str, Errors]) -> Errors | bool | None:
    """Return the kept errors of one dataset; None if its split has no samples, False if they are not measured yet.

    Errors by an earlier version of the metrics count as not measured: the evaluation is repeated, but no epoch.
    """
    dataset = plan.datasets[number]
    if dataset.samples[split] == 0:
        return None
    errors = kept.get(dataset.sha256[split])
    return False if errors is None or not errors.is_current else errors


Note = Callable[[Action, Any], None]


def finished(plan: Plan, store: Store, note: Note = lambda action, answer: None) -> Outcome:
    """Return the outcome of a run whose epochs are all in the store; raises NotAnsweredError at the first missing action.

    `note` is called with every action and its answer.
    """
    return drive(relay(plan), _answers(plan, store, note))


def after_stages(plan: Plan, store: Store, num_stages: int) -> Outcome:
    """Return the outcome of the first stages of a plan, not tested; raises NotAnsweredError if any of it is missing.

    If the guard stopped the run earlier, returns its whole outcome.
    """
    for outcome in drive_stages(relay(plan), _answers(plan, store, lambda action, answer: None)):
        reached = outcome
        if len(outcome.stages) == num_stages:
            break
    return reached


def _answers(plan: Plan, store: Store, note: Note) -> Callable[[Action], Any]:
    num_trained = 0

    def answer(action: Action) -> Any:
        nonlocal num_trained
        stored = look_up(action, plan, store)
        if stored is None:
            raise NotAnsweredError(action, num_trained)
        num_trained += isinstance(action, Train)
        note(action, stored)
        return stored

    return answer


def num_epochs(outcome: Outcome) -> int:
    """Return the number of epochs of a run, including those after the one that a dataset handed over."""
    return sum(len(stage.epochs) for stage in outcome.stages)
