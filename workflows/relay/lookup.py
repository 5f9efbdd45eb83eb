"""What the store knows of a plan already. Resume, a finished run and a search all ask here; no torch and no Ray needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from workflows.relay.plan import Plan
from workflows.relay.relay import Action, Evaluate, Initialise, NotAnsweredError, Outcome, Tell, Train, drive, relay
from workflows.store.store import Store

Facts = dict[str, Any]


def look_up(action: Action, plan: Plan, store: Store) -> Any:
    """The store's answer to an action, or None where something of it is still to be done."""
    if isinstance(action, Initialise):
        return store.facts(action.key)
    if isinstance(action, Train):
        return store.facts(action.epoch.key)
    if isinstance(action, Tell):
        return True
    kept = store.evaluations(action.key)
    answers = [measured(plan, number, action.split, kept) for number in action.datasets]
    return None if False in answers else answers


def measured(plan: Plan, number: int, split: str, kept: dict[str, Facts]) -> Facts | bool | None:
    """The kept errors of one dataset; None where its split has no samples, False where they have to be measured."""
    dataset = plan.datasets[number]
    if dataset.samples[split] == 0:
        return None
    found: Facts | bool = kept.get(dataset.sha256[split], False)
    # Errors that were kept before the loss was measured too are measured again: an evaluation, not an epoch.
    return False if isinstance(found, dict) and "loss" not in found else found


def finished(plan: Plan, store: Store, note: Callable[[Action, Any], None] = lambda action, answer: None) -> Outcome:
    """The outcome of a run that the store holds completely; raises NotAnsweredError at the first action it lacks.

    `note` is told every action that the store holds the answer to.
    """
    held = 0

    def answer(action: Action) -> Any:
        nonlocal held
        found = look_up(action, plan, store)
        if found is None:
            raise NotAnsweredError(action, held)
        held += isinstance(action, Train)
        note(action, found)
        return found

    return drive(relay(plan), answer)


def trained_stages(plan: Plan, store: Store, num_stages: int) -> tuple[str, list[list[str]]]:
    """The state at the end of the first stages and the epochs that each of them trained, as far as the store holds them."""
    short = replace(plan, stages=plan.stages[:num_stages])
    keys: list[list[str]] = [[] for _ in short.stages]
    last = plan.root

    def note(action: Action, _answer: Any) -> None:
        nonlocal last
        if isinstance(action, Train):
            keys[action.epoch.stage].append(action.epoch.key)
        elif isinstance(action, Evaluate):
            last = action.key

    try:
        last = finished(short, store, note).key
    except NotAnsweredError as error:
        last = error.action.key if isinstance(error.action, Evaluate) else last
    return last, keys


def epochs_held(plan: Plan, store: Store) -> int:
    """How many epochs of a plan can be taken from the store before the first one that has to be trained."""
    try:
        return num_epochs(finished(plan, store))
    except NotAnsweredError as error:
        return error.held


def num_epochs(outcome: Outcome) -> int:
    """The epochs of a run, those behind the one that a dataset handed over counted too."""
    return sum(len(stage.epochs) for stage in outcome.stages)
