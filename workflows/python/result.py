"""What a training gave, for a notebook: it shows its errors, and predicts."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import InputError
from data.prepared.arrays import checked_inputs
from data.prepared.new_data import finish_new
from data.samples.new_part import unlabelled, write_new_part
from data.samples.series import Series
from workflows.recipe.checks import meant
from workflows.relay.guard import sentence_of
from workflows.results.evaluation import chosen_split, evaluate
from workflows.results.events import Watch
from workflows.results.run_result import RunResult
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

Facts = dict[str, Any]


@dataclass(frozen=True)
class ErrorMatrix:
    """The validation error on each dataset before and after each stage.

    `values` and `scaled` (divided by the naive forecast's error) are (1 + stages, datasets), NaN where there was nothing
    to measure on; `after` names the rows, `error` says what the values are.
    """

    datasets: Sequence[str]
    after: Sequence[str]
    values: npt.NDArray[np.float64]
    scaled: npt.NDArray[np.float64]
    error: str

    def _cells(self) -> list[list[str]]:
        rows = [["-" if np.isnan(value) else f"{value:.4f}" for value in row] for row in self.values]
        names = ["untrained", *(f"after {name}" for name in self.after[1:])]
        return [[f"validation {self.error}", *self.datasets], *([name, *row] for name, row in zip(names, rows, strict=True))]

    def __repr__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
        lines = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
        return "\n".join(
            "  ".join([row[0].strip().ljust(widths[0]), *line[1:]]) for row, line in zip(cells, lines, strict=True)
        )

    def _repr_html_(self) -> str:
        head, *rows = [[html.escape(cell) for cell in row] for row in self._cells()]
        lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
        for name, *cells in rows:
            lines.append(f"<tr><th>{name}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        return "<table>" + "".join(lines) + "</table>"


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run in a storage: its errors, and its final state, which predicts. Training again leaves it as it is."""

    storage: str
    run: TrainedRun
    labels: Mapping[str, Any] = field(default_factory=dict)  # classes as they were given, by what they are as text

    @property
    def result(self) -> RunResult:
        """What the run came to, as a value."""
        assert self.run.result is not None  # `open_run` opens only runs that have ended
        return self.run.result

    @property
    def document(self) -> Facts:
        """Return all of result.json."""
        return self.result.to_json()

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def key(self) -> str:
        """The address of the final state."""
        return self.run.key

    @property
    def train_loss(self) -> dict[str, list[float]]:
        """The mean train loss of every epoch, by dataset."""
        return {stage.dataset: list(stage.train_loss) for stage in self.result.stages}

    @property
    def forgetting(self) -> float | None:
        """How much worse the earlier datasets are at the end than at their best, of the naive error; None: not measured."""
        return self.result.forgetting

    @property
    def mean_scaled_error(self) -> float | None:
        """The mean validation error at the end, of the naive forecast's; None if not measured."""
        return self.result.mean_scaled_error

    @property
    def error_matrix(self) -> ErrorMatrix:
        """The validation error on each dataset before and after each stage."""
        matrix = self.result.error_matrix
        values, scaled = (np.array(rows, np.float64) for rows in (matrix.validation, matrix.scaled))
        return ErrorMatrix(matrix.datasets, matrix.after, values, scaled, self.result.error)

    def evaluate(self, split: str | None = None) -> Facts:
        """The errors on each dataset as the command `evaluate` gives them; test unless given, or validation without one."""
        return evaluate(Store(self.storage), self.run, chosen_split(self.run, split))

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
        """Train one more dataset, going on from this run; only its own epochs are trained, and no earlier data are needed.

        `data` is (X, y) or the path of a file, `dataset` its name. `learning_rate` may be higher than the carried one.
        Returns the result of the run with it; this one stays as it is.
        """
        from workflows.python.extend import extend_result

        return extend_result(self, data, dataset, validation, epochs, learning_rate, watch)

    @cached_property
    def _forecasters(self) -> dict[int, Any]:
        return {}

    def predict(self, inputs: Any, dataset: str | None = None) -> npt.NDArray[Any]:
        """One forecast for each sample of X, in the targets' own units.

        `inputs` is (samples, steps, features) or a list of (steps, features), NaN where a value is missing. `dataset` is
        whose scaling the samples take; it may be left out where all datasets have the same. Returns (samples, targets),
        (samples, horizon, targets) where the horizon is not 0, or the classes (samples,).
        """
        place, found = self._forecasts(inputs, dataset)
        point = np.concatenate([forecasts.point for forecasts in found])
        if point.ndim == 1:
            return np.array([self.labels.get(label, label) for label in point])
        return self._without_step(point, place)

    def predict_quantiles(self, inputs: Any, dataset: str | None = None) -> npt.NDArray[np.float32]:
        """The quantiles of each forecast, in the targets' own units: `predict` with one more axis, the levels, at the end.

        The levels are those of `quantiles`, in their order. Raises InputError unless the loss is "quantile".
        """
        loss = self.run.plan.model.loss
        if loss != "quantile":
            raise InputError(f'predict_quantiles: this model was trained with loss = "{loss}": train with loss="quantile"')
        place, found = self._forecasts(inputs, dataset)
        return self._without_step(np.concatenate([each.levels for each in found if each.levels is not None]), place)

    def _without_step(self, forecast: npt.NDArray[Any], place: int) -> npt.NDArray[np.float32]:
        return (forecast if self.run.datasets[place].prepared.horizon else forecast[:, 0]).astype(np.float32)

    def _forecasts(self, inputs: Any, dataset: str | None) -> tuple[int, list[Any]]:
        """The number of the dataset whose scaling the samples take, and the Forecasts of them, in their order."""
        rows = checked_inputs("predict", inputs)
        place = self._scaling_of(dataset, any(bool(np.isnan(each).any()) for each in rows))
        self._check(rows, place)
        source = unlabelled(self.run.sources[place])
        series = [Series(f"{number:09d}", each, {}, None) for number, each in enumerate(rows)]
        if place not in self._forecasters:
            from workflows.results.prediction import make_forecaster

            self._forecasters[place] = make_forecaster(Store(self.storage), self.run, place)
        with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
            part = write_new_part(series, source, Path(folder), 0, every=False)
            new = finish_new([part], source, self.run.datasets[place].encoding, Path(folder))
            return place, [forecasts for _, forecasts in self._forecasters[place].walk(new.lengths, new.batch)]

    def _scaling_of(self, dataset: str | None, gaps: bool) -> int:
        encodings = [each.encoding for each in self.run.datasets]
        scalings = {(each.center, each.scale) for each in encodings}
        if dataset is not None or len(scalings) > 1:
            return self.run.place_of(dataset)
        if gaps and len({each.fill for each in encodings}) > 1:
            hint = meant("", [each.name for each in self.run.datasets])
            raise InputError(
                f"predict: X has missing values, and each dataset fills them its own way: name the one (dataset=...), {hint}"
            )
        return 0

    def _check(self, rows: Sequence[npt.NDArray[np.float32]], place: int) -> None:
        settings = self.run.sources[place].settings
        also = [*settings.categorical, *settings.calendar]
        if also:
            raise InputError(
                f"predict: this model takes {', '.join(also)} too, which are no numbers in X: write the rows to a file, "
                f"and run lstm-relay predict {self.name}"
            )
        if rows[0].shape[1] != len(settings.features):
            names = ", ".join(settings.features[:12])
            raise InputError(f"predict: X has {rows[0].shape[1]} features, the model {len(settings.features)} ({names})")
        shortest = settings.shortest_history
        longest = max(len(each) for each in rows) if settings.lookback == "all" else settings.lookback
        for number, each in enumerate(rows):
            if not shortest <= len(each) <= longest:
                least = f"{shortest} or more" if settings.lookback == "all" else f"{shortest} to {longest}"
                taken = str(shortest) if shortest == settings.lookback else least
                raise InputError(f"predict: sample {number} of X has {len(each)} steps: the model takes {taken}")
            if settings.missing == "drop" and np.isnan(each).any():
                raise InputError(f'predict: sample {number} of X has a missing value, and missing = "drop": fill it')

    def _lines(self) -> list[str]:
        """What the run came to, in sentences."""
        status, mean = self.result.status, self.mean_scaled_error
        words = f"run {self.name!r}: {len(self.result.stages)} datasets, key {self.key[:12]}"
        words += "" if status == "finished" else f", {status}"
        if mean is not None:
            words += f", mean scaled error {mean:.3f} (naive = 1)"
        if self.forgetting is not None:
            words += f", forgetting {self.forgetting:.3f}"
        if mean is None:
            last = ", ".join(f"{name} {losses[-1]:.4f}" for name, losses in self.train_loss.items())
            return [words, f"last train losses: {last}"]
        return [words, *(f"guard: {sentence_of(report)}" for report in self.result.guard)]

    def __repr__(self) -> str:
        matrix = [] if self.mean_scaled_error is None else [repr(self.error_matrix)]
        return "\n".join([*self._lines(), *matrix])

    def _repr_html_(self) -> str:
        matrix = "" if self.mean_scaled_error is None else self.error_matrix._repr_html_()
        return "".join(f"<p>{html.escape(line)}</p>" for line in self._lines()) + matrix
