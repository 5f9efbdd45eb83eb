"""A run that has not ended, as far as the store holds it, in the words of a result."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from workflows.relay.actions import Action, Evaluate, Train
from workflows.relay.lookup import finished, measured
from workflows.relay.metrics import backward_transfer, forgetting, forward_transfer, mean_of, naive_error, scaled
from workflows.relay.plan import Epoch, Plan
from workflows.relay.relay import NotAnsweredError, figure, row_of
from workflows.results.result import told_errors
from workflows.results.trained import TrainedRun
from workflows.store.kept import EpochRecord, Errors
from workflows.store.store import Store

Facts = dict[str, Any]


def partial_result(progress: Mapping[str, Any], plan: Plan, store: Store, naive: list[float | None]) -> Facts:
    """What result.json would say of the epochs that are there; what is not known yet is None or absent."""
    names = [dataset.name for dataset in plan.datasets]
    stages: list[Facts] = []
    rows: list[list[float | None]] = []

    def note(action: Action, found: Any) -> None:
        if isinstance(action, Train):
            _add_epoch(stages, plan, names, action.epoch, found)
        elif isinstance(action, Evaluate) and action.split == "validation":
            row = row_of(plan, action.datasets, found)
            errors = [None if each is None else each.error for each in row]
            if (
                stages
                and action.key == stages[-1]["keys"][-1]
                and len(stages[-1]["validation_error"]) < len(stages[-1]["keys"])
            ):
                stages[-1]["validation_error"].append(errors[action.datasets[0]])
                stages[-1]["validation_loss"].append(figure(row[action.datasets[0]], "loss"))
            else:
                rows[action.stage :] = [errors]

    with contextlib.suppress(NotAnsweredError):
        finished(plan, store, note)
    return {**progress, "stages": stages, **_measures(names, stages, rows, naive)}


def kept_tests(run: TrainedRun, store: Store) -> Facts:
    """The test errors that the store keeps of the state that a run stands at, None where they were not measured."""
    kept, loss = store.evaluations(run.key), run.plan.model.loss
    found = {}
    for number, dataset in enumerate(run.datasets):
        errors = measured(run.plan, number, "test", kept)
        found[dataset.name] = told_errors(errors if isinstance(errors, Errors) else None, naive_error(dataset, "test", loss))
    return found


def _add_epoch(stages: list[Facts], plan: Plan, names: list[str], epoch: Epoch, record: EpochRecord) -> None:
    number = epoch.stage
    if epoch.number == 0:
        stages[number:] = [
            {
                "dataset": names[plan.stages[number].dataset],
                "learning_rate": plan.stages[number].learning_rate,
                "learning_rates_used": [],
                "epochs": plan.stages[number].epochs,
                "epochs_planned": plan.stages[number].epochs,
                "handed_over": plan.stages[number].epochs,
                "keys": [],
                "key": None,
                "train_loss": [],
                "validation_error": [],
                "validation_loss": [],
                "attempts": 1,
            }
        ]
    stage = stages[number]
    stage["learning_rates_used"].append(record.learning_rate)
    stage["keys"].append(record.key)
    stage["key"] = record.key
    stage["train_loss"].append(record.train_loss)


def _measures(names: list[str], stages: list[Facts], rows: list[list[float | None]], naive: list[float | None]) -> Facts:
    relative = [[scaled(error, base) for error, base in zip(row, naive, strict=True)] for row in rows]
    seen = [row[: len(rows) - 1] for row in relative]
    some = len(rows) > 1
    return {
        "error_matrix": {
            "after": ["untrained", *(stage["dataset"] for stage in stages)][: len(rows)],
            "datasets": names,
            "validation": rows,
            "scaled": relative,
        },
        "test": {},
        "mean_scaled_error": mean_of(seen[-1]) if some else None,
        "forgetting": forgetting(seen) if some else None,
        "backward_transfer": backward_transfer(seen) if some else None,
        "forward_transfer": forward_transfer(seen) if some else None,
    }
