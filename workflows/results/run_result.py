"""A run's result as a value: result.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.records import DamagedRecordError, from_json, to_json
from workflows.relay.guard import GuardReport
from workflows.relay.metrics import scaled
from workflows.store.kept import Errors
from workflows.store.measures import ForecastMeasures

FORMAT = 1  # raised when a key of result.json changes its meaning
Row = tuple[float | None, ...]


@dataclass(frozen=True)
class StageResult:
    """The training on one dataset. Tuples have an entry for each epoch; `handed_over` counts epochs from 1."""

    dataset: str
    learning_rate: float
    learning_rates_used: tuple[float, ...]
    epochs: int
    handed_over: int
    keys: tuple[str, ...]
    train_loss: tuple[float, ...]
    validation_error: Row
    validation_loss: Row = ()
    epochs_planned: int = 0
    key: str | None = None  # of the state handed over if it is not one of `keys` (an average of weights)
    attempts: int = 1


@dataclass(frozen=True)
class ErrorMatrix:
    """Validation errors of all datasets (columns) before and after each stage (rows), plain and relative to naive.

    None where a dataset was not evaluated or has no validation samples. `after` names the rows, "untrained" first.
    """

    after: tuple[str, ...]
    datasets: tuple[str, ...]
    validation: tuple[Row, ...]
    scaled: tuple[Row, ...]


@dataclass(frozen=True)
class SplitErrors:
    """The errors of one dataset on one split, and of the naive forecast; `measured` is None without samples."""

    measured: Errors | None = None
    naive_error: float | None = None

    @property
    def error(self) -> float | None:
        """Return the error by which the model is compared."""
        return None if self.measured is None else self.measured.error

    @property
    def weighted_error(self) -> float | None:
        """Return the error weighted by the samples' weights; None if all are 1."""
        return None if self.measured is None else self.measured.weighted_error

    @property
    def scaled_error(self) -> float | None:
        """Return the error relative to the naive forecast (naive = 1)."""
        return scaled(self.error, self.naive_error)

    @property
    def samples(self) -> int:
        """Return the number of samples."""
        return 0 if self.measured is None else self.measured.samples

    @property
    def forecasts(self) -> ForecastMeasures | None:
        """Return the measures of the forecasts; None if there are none."""
        return None if self.measured is None else self.measured.forecasts

    def by_target(self, metric: str) -> tuple[float, ...] | None:
        """Return a metric of models.metrics: a number for each target, in its own unit."""
        return None if self.measured is None else self.measured.by_target.get(metric)

    def to_json(self) -> dict[str, Any]:
        """Return the entry in result.json, without measures that the loss does not have."""
        content = {name: getattr(self, name) for name in ("error", "scaled_error", "naive_error", "samples")}
        measured = {} if self.measured is None else self.measured.to_json()
        return content | {name: value for name, value in measured.items() if name != "version"}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> SplitErrors:
        """Return the errors that `to_json` wrote. Raises KeyError, TypeError or ValueError for other content."""
        measured = None if content["error"] is None else Errors.from_json(content)
        return SplitErrors(measured, content["naive_error"] if measured is not None else None)


NOT_MEASURED = SplitErrors()


@dataclass(frozen=True)
class Seconds:
    """The time of a run by phase."""

    prepare: float = 0.0
    start: float = 0.0
    fit: float = 0.0
    evaluate: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Session:
    """A call that trained epochs of a run; `key` is the first of them, `when` the end in Unix time."""

    key: str
    when: float
    epochs_trained: int
    epochs_tried_again: int = 0
    seconds: Seconds = Seconds()
    workers: int = 0


@dataclass(frozen=True)
class RunResult:
    """The result of a run: finished, stopped by the guard, rolled back, or so far.

    `key` is the address of its final state. Relative errors are 1 where the model equals the naive forecast. `when` and
    `ended` are Unix times; `ended` is the end of training if `when` is a later change. `epochs_trained`, `seconds` and
    `workers` describe the last call, `sessions` all calls that trained its epochs.
    """

    name: str
    status: str
    key: str
    datasets: tuple[str, ...]
    stages: tuple[StageResult, ...]
    error: str  # the name of the error metric
    retention: str
    guard: tuple[GuardReport, ...]
    error_matrix: ErrorMatrix
    test: Mapping[str, SplitErrors]
    mean_scaled_error: float | None
    forgetting: float | None
    backward_transfer: float | None
    forward_transfer: float | None
    epochs_requested: int
    samples_per_second: float | None = None
    prepared: tuple[str, ...] = ()  # fingerprints of the datasets
    when: float = 0.0
    epochs_trained: int | None = None  # None: the run has not ended
    epochs_tried_again: int = 0
    seconds: Seconds | None = None
    workers: int = 0
    sessions: tuple[Session, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    ended: float | None = None
    started: float | None = None  # only while the run has not ended
    rolled_back_from: str | None = None
    message: str | None = None  # why a run stopped before its end
    measured_only: tuple[str, ...] = ()  # datasets that are never trained
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return the content of result.json; optional values that are unknown are left out."""
        content = to_json(self)
        for name in ("epochs_trained", "seconds", "ended", "started", "rolled_back_from", "message", "measured_only"):
            if content[name] in (None, []):
                del content[name]
        return {**content, "test": {name: errors.to_json() for name, errors in self.test.items()}}


def result_from(content: Mapping[str, Any]) -> RunResult:
    """Return the result in result.json; raises DamagedRecordError if it is not one."""
    try:
        test = {name: SplitErrors.from_json(each) for name, each in content["test"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedRecordError(f"test: {type(error).__name__}: {error}") from None
    return from_json(RunResult, {**content, "test": test})
