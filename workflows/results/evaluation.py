"""The errors of a run's final state on validation or test: those that the store keeps, and those it lacks, measured now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.errors import InputError
from data.prepared.encoding import EncodedDataset
from data.records import to_json
from models.settings import ModelSettings
from workflows.relay.lookup import measured
from workflows.relay.metrics import mean_of, naive_error, scaled
from workflows.results.result import error_name
from workflows.results.trained import TrainedRun
from workflows.store.measures import ForecastMeasures
from workflows.store.store import Store

Facts = dict[str, Any]
SPLITS = ("validation", "test")


def chosen_split(run: TrainedRun, split: str | None) -> str:
    """The split that is meant: the one named, else test where any dataset has test samples, else validation."""
    if split is not None and split not in SPLITS:
        raise InputError(f"--split {split}: write one of {', '.join(SPLITS)}")
    held = [name for name in SPLITS if any(dataset.num_samples(name) for dataset in run.datasets)]
    if not held:
        raise InputError(
            f"run {run.name!r}: no dataset has validation or test samples: give split such parts, and train again"
        )
    if split is not None and split not in held:
        raise InputError(f"--split {split}: no dataset of run {run.name!r} has such samples: write --split {held[0]}")
    return split or held[-1]


def evaluate(store: Store, run: TrainedRun, split: str) -> Facts:
    """The errors on each dataset, with the naive forecast's beside them, in scaled units and in those of each target.

    What is measured now is kept in the store with the state. Where the store has all of it, no torch is needed.
    """
    kept = store.evaluations(run.key)
    found = {number: measured(run.plan, number, split, kept) for number in range(len(run.datasets))}
    absent = [number for number, errors in found.items() if errors is False]
    if absent:
        from workflows.results.prediction import measure

        now = measure(store, run, split, absent)
        store.add_evaluations(run.key, {run.plan.datasets[number].sha256[split]: now[number] for number in absent})
        found |= now
    loss = run.plan.model.loss
    datasets = {
        dataset.name: _described(errors, dataset, split, run.plan.model)
        for dataset, errors in zip(run.datasets, found.values(), strict=True)
    }
    return {
        "name": run.name,
        "key": run.key,
        "split": split,
        "error": error_name(run.plan.model),
        "targets": [] if loss == "cross_entropy" else run.datasets[0].prepared.targets,
        "datasets": datasets,
        "mean_scaled_error": mean_of([errors["scaled_error"] for errors in datasets.values()]),
        "measured_now": len(absent),
    }


def _described(errors: Any, dataset: EncodedDataset, split: str, model: ModelSettings) -> Facts:
    """What is told of one dataset; figures in units are by target."""
    if errors is None:
        return {"samples": 0, "error": None, "naive_error": None, "scaled_error": None}
    loss = model.loss
    naive, quantiles = naive_error(dataset, split, loss), model.quantiles
    facts = {
        "samples": errors.samples,
        "error": errors.error,
        "naive_error": naive,
        "scaled_error": scaled(errors.error, naive),
    }
    if loss == "cross_entropy":
        return {**facts, "accuracy": 1 - errors.error, "naive_accuracy": None if naive is None else 1 - naive}
    targets = dataset.prepared.targets
    sums = dataset.prepared.manifest.naive[split]
    count = np.array(sums["count"])
    known = count.all()
    measures = errors.forecasts or ForecastMeasures()
    seasonal = measures.seasonal_naive_error
    return {
        **facts,
        "seasonal_naive_error": seasonal,
        "error_to_seasonal_naive": scaled(errors.error, seasonal),
        "season": measures.season,
        "mase": _optional(targets, measures.mase),
        "mean_mase": measures.mean_mase,
        "by_step": None
        if measures.by_step is None
        else {**to_json(measures.by_step), "scaled_error": list(measures.by_step.scaled_error)},
        "pinball": {f"{level:g}": loss for level, loss in zip(quantiles, measures.pinball, strict=False)},
        "intervals": [to_json(each) for each in measures.intervals],
        "mse": errors.mse,
        "mae": errors.mae,
        "mae_units": _by_target(targets, errors.mae_units),
        "rmse_units": _by_target(targets, errors.rmse_units),
        "naive_mae_units": _by_target(targets, np.array(sums["absolute"]) / count) if known else None,
        "naive_rmse_units": _by_target(targets, np.sqrt(np.array(sums["squared"]) / count)) if known else None,
        "seasonal_naive_mae_units": _optional(targets, measures.seasonal_naive_mae_units),
        "seasonal_naive_rmse_units": _optional(targets, measures.seasonal_naive_rmse_units),
    }


def _optional(targets: Sequence[str], values: Any) -> dict[str, float | None] | None:
    return None if values is None else dict(zip(targets, values, strict=True))


def _by_target(targets: Sequence[str], values: Any) -> dict[str, float]:
    return {name: float(value) for name, value in zip(targets, values, strict=True)}
