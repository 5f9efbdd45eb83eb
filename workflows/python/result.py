"""The result of a training in a notebook: it displays its errors, predicts, and can be saved."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data.errors import InputError
from workflows.python.error_matrix import ErrorMatrix
from workflows.python.frames import is_frame
from workflows.python.summary import sentences_of
from workflows.results.evaluation import chosen_split, evaluate
from workflows.results.events import Watch
from workflows.results.forecast_rows import Wanted
from workflows.results.run_result import RunResult
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

if TYPE_CHECKING:  # results are shown without torch
    from torch import nn


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run in a storage: its errors, and its final state, which predicts. Retraining does not change it."""

    storage: str
    run: TrainedRun
    labels: Mapping[str, Any] = field(default_factory=dict)  # the user's classes by their text

    @property
    def result(self) -> RunResult:
        """Return the result as a value."""
        assert self.run.result is not None  # `open_run` opens only runs that have ended
        return self.run.result

    @property
    def document(self) -> dict[str, Any]:
        """Return all of result.json."""
        return self.result.to_json()

    @property
    def name(self) -> str:
        """Return the run's name."""
        return self.run.name

    @property
    def key(self) -> str:
        """Return the address of the final state."""
        return self.run.key

    @property
    def train_loss(self) -> dict[str, list[float]]:
        """Return the mean train loss of every epoch, by dataset."""
        return {stage.dataset: list(stage.train_loss) for stage in self.result.stages}

    @property
    def history(self) -> dict[str, dict[str, list[float | None]]]:
        """Return the values of each epoch by dataset, as Keras names them: loss, val_loss, val_error and learning_rate."""
        return {
            stage.dataset: {
                "loss": list(stage.train_loss),
                "val_loss": list(stage.validation_loss),
                "val_error": list(stage.validation_error),
                "learning_rate": list(stage.learning_rates_used),
            }
            for stage in self.result.stages
        }

    @property
    def forgetting(self) -> float | None:
        """Return how much worse earlier datasets are at the end than at their best (naive = 1); None: not measured."""
        return self.result.forgetting

    @property
    def mean_scaled_error(self) -> float | None:
        """Return the mean validation error at the end (naive = 1); None: not measured."""
        return self.result.mean_scaled_error

    @property
    def error_matrix(self) -> ErrorMatrix:
        """Return the validation error on each dataset before and after each stage."""
        matrix = self.result.error_matrix
        values, scaled = (np.array(rows, np.float64) for rows in (matrix.validation, matrix.scaled))
        return ErrorMatrix(matrix.datasets, matrix.after, values, scaled, self.result.error)

    def evaluate(self, split: str | None = None) -> dict[str, Any]:
        """Return the errors on each dataset as the command `evaluate` does; default test, otherwise validation."""
        return evaluate(Store(self.storage), self.run, chosen_split(self.run, split)).to_json()

    def extend(
        self,
        data: Any,
        dataset: str | None = None,
        *,
        validation: Any = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        watch: Watch | None = None,
    ) -> Result:
        """Train one more dataset after this run; trains only its epochs and needs no earlier data.

        `data` is a frame, (X, y), or the path of a file, `dataset` its name. `learning_rate` may be higher than the carried
        one. Returns the result of the extended run; this result does not change.
        """
        from workflows.python.extend import NewDataset, extend_run_by

        name = dataset or f"dataset_{len(self.run.datasets) + 1}"
        new = NewDataset(data, name, validation, epochs, learning_rate)
        run, labels = extend_run_by(self.run, self.storage, new, watch)
        return replace(self, run=run, labels={**self.labels, **labels})

    @property
    def model(self) -> nn.Module:
        """Return the final model as a torch module from raw units to raw units; see `model_of` if datasets differ."""
        return self.model_of(None)

    def model_of(self, dataset: str | None) -> nn.Module:
        """Return the final model including a dataset's scaling and head; optional if all datasets have the same."""
        from workflows.results.export import raw_model

        return raw_model(Store(self.storage), self.run, dataset)

    def export(self, output: str | Path, dataset: str | None = None) -> dict[str, Any]:
        """Write the final model to a .pt2 or .onnx file with a JSON of its inputs beside it, and return that JSON."""
        from workflows.results.export import export_model

        return export_model(Store(self.storage), self.run, str(output), dataset).to_json()

    def predict(self, inputs: Any, dataset: str | None = None, *, every: bool = False, probabilities: bool = False) -> Any:
        """Return forecasts in the targets' units: arrays for arrays, a frame for a frame.

        Arrays: X (samples, steps, features), or a list of (steps, features), NaN for missing values. Returns one forecast
        for each sample: (samples, targets), (samples, horizon, targets) if the horizon is not 0, or classes (samples,).
        `dataset` names the dataset that scales the samples; optional if all datasets have the same scaling.

        Frames of pandas, polars or Arrow, or {dataset: frame}: forecasts the steps after the last row of each series, or
        after `every` row with enough history. Returns a frame of the same kind with the columns series, cutoff, step, time
        and the targets, then columns of the quantiles or, with `probabilities`, of each class. Without `dataset` a column of
        the frame names it, and the forecasts have a column `dataset`.
        """
        if _holds_frames(inputs):
            return self._predict_frame(inputs, dataset, Wanted(every, probabilities, self._many and dataset is None))
        if every or probabilities:
            raise InputError("predict: every and probabilities go with frames; predict_proba takes arrays")
        index, forecasts = self._forecasts(inputs, dataset)
        if forecasts.point.ndim == 1:
            return np.array([self.labels.get(label, label) for label in forecasts.point])
        return self._without_step(forecasts.point, index)

    def predict_proba(self, inputs: Any, dataset: str | None = None) -> Any:
        """Return the probability of each class: (samples, classes) in the order of `classes`, or a frame for a frame."""
        model = self.run.plan.model
        if not model.classifies:
            raise InputError(f'predict_proba: loss = "{model.loss}" forecasts numbers: call predict or predict_quantiles')
        if _holds_frames(inputs):
            return self.predict(inputs, dataset, probabilities=True)
        probabilities = self._forecasts(inputs, dataset)[1].probabilities
        assert probabilities is not None  # classes have probabilities
        return probabilities

    def predict_quantiles(self, inputs: Any, dataset: str | None = None) -> Any:
        """Return the quantiles of each forecast: `predict` with one more axis at the end, the levels in order.

        For a frame `predict` includes them already. Raises InputError unless the loss predicts quantiles.
        """
        model = self.run.plan.model
        if not model.predicts_quantiles:
            raise InputError(f'predict_quantiles: loss = "{model.loss}" has no quantiles: train with loss="quantile"')
        if _holds_frames(inputs):
            return self.predict(inputs, dataset)
        index, forecasts = self._forecasts(inputs, dataset)
        assert forecasts.levels is not None  # a quantile loss has levels
        return self._without_step(forecasts.levels, index)

    @property
    def classes(self) -> list[Any]:
        """Return the user's classes in the order of their probabilities; empty for numeric targets."""
        return [self.labels.get(label, label) for label in self.run.datasets[0].encoding.classes]

    @property
    def _many(self) -> bool:
        return len(self.run.datasets) > 1

    def _without_step(self, forecast: npt.NDArray[Any], index: int) -> npt.NDArray[np.float32]:
        return (forecast if self.run.datasets[index].prepared.horizon else forecast[:, 0]).astype(np.float32)

    @cached_property
    def _forecasters(self) -> dict[int, Any]:
        return {}

    def _forecasts(self, inputs: Any, dataset: str | None) -> tuple[int, Any]:
        """Return the index of the dataset that scales the samples, and their Forecasts."""
        from workflows.python.array_forecasts import check_samples, forecast_arrays

        index, samples = check_samples(self.run, inputs, dataset)
        if index not in self._forecasters:
            from workflows.results.prediction import make_forecaster

            self._forecasters[index] = make_forecaster(Store(self.storage), self.run, index)
        return index, forecast_arrays(self.run, index, samples, self._forecasters[index])

    def _predict_frame(self, frames: Any, dataset: str | None, wanted: Wanted) -> Any:
        from workflows.python.frame_forecasts import predict_frame

        return predict_frame(Store(self.storage), self.run, frames, dataset, wanted, self.labels)

    def plot(self) -> Any:
        """Return a Matplotlib figure: the learning curves, and the error on each dataset after each stage."""
        from workflows.python.plot import draw_run

        return draw_run(self.result)

    def save(self, path: str | Path) -> None:
        """Copy the run to another storage: its final state, the prepared rows of its datasets, and its files.

        `load`, `evaluate`, `predict` and `extend` work there too. Raises InputError if the storage has another run of this
        name.
        """
        from workflows.results.copying import copy_run

        copy_run(self.run, Store(self.storage), Store(str(path)))

    def __repr__(self) -> str:
        words = sentences_of(self.result)[0].removeprefix("run ")
        return f"Result({words})"

    def __str__(self) -> str:
        matrix = [] if self.mean_scaled_error is None else [repr(self.error_matrix)]
        return "\n".join([*sentences_of(self.result), *matrix])

    def _repr_html_(self) -> str:
        matrix = "" if self.mean_scaled_error is None else self.error_matrix._repr_html_()
        return "".join(f"<p>{html.escape(line)}</p>" for line in sentences_of(self.result)) + matrix


def _holds_frames(inputs: Any) -> bool:
    if is_frame(inputs):
        return True
    return isinstance(inputs, Mapping) and any(map(is_frame, inputs.values()))
