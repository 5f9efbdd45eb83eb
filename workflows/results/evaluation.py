"""Evaluate a run's final state on validation or test: read the errors from the store, or compute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import InputError
from data.prepared.encoding import EncodedDataset
from data.records import to_json
from models.settings import ModelSettings
from workflows.relay.lookup import measured
from workflows.relay.metrics import mean_of, naive_error, scaled
from workflows.results.run_result import SplitErrors
from workflows.results.trained import TrainedRun
from workflows.store.kept import Errors
from workflows.store.measures import ForecastMeasures
from workflows.store.store import Store

SPLITS = ("validation", "test")


@dataclass(frozen=True)
class DatasetErrors(SplitErrors):
    """SplitErrors with names: `targets`, `quantiles` (both empty for classes), and naive errors in the targets' units."""

    targets: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    naive_mae_units: tuple[float, ...] | None = None
    naive_rmse_units: tuple[float, ...] | None = None

    @property
    def accuracy(self) -> float | None:
        """Return the share of correct classes; None for numbers."""
        return None if self.measured is None or self.targets else 1 - self.measured.error

    @property
    def forecasts(self) -> ForecastMeasures:
        """Return the measures of the forecasts; empty if there are none."""
        return super().forecasts or ForecastMeasures()

    def to_json(self) -> dict[str, Any]:
        """Return the dataset's entry of `evaluate --json`; values of targets are by name."""
        errors, measures = self.measured, self.forecasts
        content = {name: getattr(self, name) for name in ("samples", "error", "naive_error", "scaled_error")}
        if errors is None:
            return content
        weighted = {name: getattr(errors, name) for name in ("weighted_error", "weighted_loss")}
        weighted = {name: value for name, value in weighted.items() if value is not None}
        if not self.targets:
            naive = None if self.naive_error is None else 1 - self.naive_error
            return {**content, "accuracy": self.accuracy, "naive_accuracy": naive, **weighted}
        steps = measures.by_step
        return {
            **content,
            **weighted,
            "seasonal_naive_error": measures.seasonal_naive_error,
            "error_to_seasonal_naive": scaled(errors.error, measures.seasonal_naive_error),
            "season": measures.season,
            "mase": self._by_target(measures.mase),
            "mean_mase": measures.mean_mase,
            "by_step": None if steps is None else {**to_json(steps), "scaled_error": list(steps.scaled_error)},
            "pinball": self.pinball(),
            "intervals": [to_json(each) for each in measures.intervals],
            "mse": errors.mse,
            "mae": errors.mae,
            **{name: self._by_target(values) for name, values in errors.by_target.items()},
            "naive_mae_units": self._by_target(self.naive_mae_units),
            "naive_rmse_units": self._by_target(self.naive_rmse_units),
            "seasonal_naive_mae_units": self._by_target(measures.seasonal_naive_mae_units),
            "seasonal_naive_rmse_units": self._by_target(measures.seasonal_naive_rmse_units),
        }

    def pinball(self) -> dict[str, float]:
        """Return the pinball loss by quantile level."""
        return {f"{level:g}": loss for level, loss in zip(self.quantiles, self.forecasts.pinball, strict=False)}

    def _by_target(self, values: Sequence[float | None] | None) -> dict[str, float | None] | None:
        return None if values is None else dict(zip(self.targets, values, strict=True))


@dataclass(frozen=True)
class Evaluation:
    """The errors of a run's final state on one split of each dataset; `error` is the name of the metric.

    `measured_now` counts the datasets with errors that the store lacked, `measured_only` names datasets without training.
    """

    name: str
    key: str
    split: str
    error: str
    targets: tuple[str, ...]
    datasets: Mapping[str, DatasetErrors]
    measured_now: int
    measured_only: tuple[str, ...] = ()

    @property
    def mean_scaled_error(self) -> float | None:
        """Return the mean error over the trained datasets, relative to the naive forecast (naive = 1)."""
        return mean_of([each.scaled_error for name, each in self.datasets.items() if name not in self.measured_only])

    def to_json(self) -> dict[str, Any]:
        """Return the content of `evaluate --json`."""
        return {
            "name": self.name,
            "key": self.key,
            "split": self.split,
            "error": self.error,
            "targets": list(self.targets),
            "datasets": {name: errors.to_json() for name, errors in self.datasets.items()},
            "mean_scaled_error": self.mean_scaled_error,
            "measured_now": self.measured_now,
        }


def chosen_split(run: TrainedRun, split: str | None) -> str:
    """Return the named split; by default test if any dataset has test samples, otherwise validation."""
    if split is not None and split not in SPLITS:
        raise InputError(f"--split {split}: write one of {', '.join(SPLITS)}")
    available = [name for name in SPLITS if any(dataset.num_samples(name) for dataset in run.datasets)]
    if not available:
        raise InputError(
            f"run {run.name!r}: no dataset has validation or test samples: add both parts to split, and train again"
        )
    if split is not None and split not in available:
        raise InputError(f"--split {split}: no dataset of run {run.name!r} has such samples: write --split {available[0]}")
    return split or available[-1]


def evaluate(store: Store, run: TrainedRun, split: str) -> Evaluation:
    """Return the errors on each dataset, in scaled units and in the units of each target.

    Errors that the store lacks are computed in this process and stored. Without such errors torch is not imported.
    """
    stored = store.evaluations(run.key)
    measurements = {number: measured(run.plan, number, split, stored) for number in range(len(run.datasets))}
    missing = [number for number, errors in measurements.items() if errors is False]
    if missing:
        from workflows.results.prediction import measure

        computed = measure(store, run, split, missing)
        store.add_evaluations(run.key, {run.plan.datasets[number].sha256[split]: computed[number] for number in missing})
        measurements |= computed
    datasets = {
        dataset.name: _with_naive(errors if isinstance(errors, Errors) else None, dataset, split, run.plan.model)
        for dataset, errors in zip(run.datasets, measurements.values(), strict=True)
    }
    targets = () if run.plan.model.classifies else tuple(run.datasets[0].prepared.targets)
    measured_only = tuple(dataset.name for dataset in run.datasets[len(run.plan.stages) :])
    error_name = run.plan.model.error_name
    return Evaluation(run.name, run.key, split, error_name, targets, datasets, len(missing), measured_only)


def _with_naive(errors: Errors | None, dataset: EncodedDataset, split: str, model: ModelSettings) -> DatasetErrors:
    if errors is None:
        return DatasetErrors()
    naive = naive_error(dataset, split, model.loss)
    if model.classifies:
        return DatasetErrors(errors, naive)
    sums = dataset.prepared.manifest.naive[split]
    count = np.array(sums.count)
    absolute, rmse = np.array(sums.absolute) / count, np.sqrt(np.array(sums.squared) / count)
    units = (tuple(absolute.tolist()), tuple(rmse.tolist())) if count.all() else (None, None)
    return DatasetErrors(errors, naive, tuple(dataset.prepared.targets), tuple(model.quantiles), *units)
