"""result.json: what a run gave, from the facts that the store holds."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from data.prepared.encoding import EncodedDataset
from models.settings import ModelSettings
from workflows.relay.guard import report_of
from workflows.relay.metrics import backward_transfer, forgetting, forward_transfer, mean_of, naive_error, scaled
from workflows.relay.plan import Plan
from workflows.relay.relay import Outcome
from workflows.store.kept import Errors

Facts = dict[str, Any]


def assemble(name: str, plan: Plan, datasets: Sequence[EncodedDataset], outcome: Outcome) -> Facts:
    """Everything of result.json that the store decides."""
    loss = plan.model.loss
    names = [dataset.name for dataset in datasets]
    validation = [[None if each is None else each.error for each in row] for row in outcome.validation]
    naive = [naive_error(dataset, "validation", loss) for dataset in datasets]
    relative = [[scaled(error, base) for error, base in zip(row, naive, strict=True)] for row in validation]
    trained = [row[: len(outcome.stages)] for row in relative]  # all of it, unless the guard has stopped the run
    epochs = [record for stage in outcome.stages for record in stage.epochs]
    seconds = sum(record.seconds for record in epochs)
    return {
        "name": name,
        "status": "stopped" if outcome.stopped else "finished",
        "key": outcome.key,
        "datasets": names,
        "stages": [
            {
                "dataset": names[stage.dataset],
                "learning_rate": stage.learning_rate,
                "learning_rates_used": [record.learning_rate for record in stage.epochs],
                "epochs": len(stage.epochs),
                "epochs_planned": planned.epochs,
                "handed_over": stage.handed_over + 1,
                "keys": [record.key for record in stage.epochs],
                "key": stage.key,
                "train_loss": [record.train_loss for record in stage.epochs],
                "validation_error": stage.errors,
                "validation_loss": stage.losses,
                "attempts": stage.attempts,
            }
            for stage, planned in zip(outcome.stages, plan.stages, strict=False)
        ],
        "error": error_name(plan.model),
        "retention": plan.retention.method,
        "guard": [asdict(report_of(verdict, plan)) for verdict in outcome.verdicts],
        "error_matrix": {
            "after": ["untrained", *(names[stage.dataset] for stage in outcome.stages)],
            "datasets": names,
            "validation": validation,
            "scaled": relative,
        },
        "test": {
            dataset.name: told_errors(measured, naive_error(dataset, "test", loss))
            for dataset, measured in zip(datasets, outcome.test, strict=True)
        },
        "mean_scaled_error": mean_of(trained[-1]),
        "forgetting": forgetting(trained),
        "backward_transfer": backward_transfer(trained),
        "forward_transfer": forward_transfer(trained),
        "epochs_requested": sum(stage.epochs for stage in plan.stages),
        "samples_per_second": sum(record.samples for record in epochs) / seconds if seconds else None,
    }


def told_errors(measured: Errors | None, naive: float | None) -> Facts:
    """The errors of one dataset as result.json has them, with the naive forecast's; None where it was not measured."""
    if measured is None:
        return {"error": None, "scaled_error": None, "naive_error": None, "samples": 0}
    return {
        "error": measured.error,
        "scaled_error": scaled(measured.error, naive),
        "naive_error": naive,
        "samples": measured.samples,
        **measured.measures(),
    }


def error_name(model: ModelSettings) -> str:
    """What `error` is, in words."""
    return {
        "mse": "MSE",
        "huber": "MSE",
        "mae": "MAE",
        "quantile": "pinball loss",
        "cross_entropy": "share of wrong classes",
    }[model.loss]


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    packages = ("lstm-relay", "ray", "torch", "numpy", "pyarrow")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:  # run from a folder that was shipped, not installed
        return "unknown"
