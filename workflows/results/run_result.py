"""A run's result as a value: what result.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.records import from_json, to_json
from workflows.relay.guard import GuardReport
from workflows.store.measures import ForecastMeasures

FORMAT = 1  # raised when a key of result.json changes its meaning
Row = tuple[float | None, ...]


@dataclass(frozen=True)
class StageResult:
    """One dataset's turn. Tuples have an entry for each epoch; `handed_over` counts epochs from 1."""

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
    key: str | None = None  # of the state handed over, where it is none of `keys` (an average)
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
    """The errors of one dataset on one split; `error` is the one that the model is judged by, in scaled units.

    `loss` is that of the training. `mae_units` and `rmse_units` have a number for each target, in its own unit; None for
    classes. `forecasts` has MASE, the seasonal naive forecast, errors by step and the coverage of intervals.
    `weighted_error` and `weighted_loss` are the means by the weights of the samples, where they have some.
    """

    error: float | None
    scaled_error: float | None
    naive_error: float | None
    samples: int
    loss: float | None = None
    mse: float | None = None
    mae: float | None = None
    mae_units: tuple[float, ...] | None = None
    rmse_units: tuple[float, ...] | None = None
    forecasts: ForecastMeasures | None = None
    weighted_error: float | None = None
    weighted_loss: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what result.json holds of it; measures that the loss does not have are left out."""
        optional = ("loss", "mse", "mae", "mae_units", "rmse_units", "forecasts", "weighted_error", "weighted_loss")
        return {name: value for name, value in to_json(self).items() if value is not None or name not in optional}


NOT_MEASURED = SplitErrors(None, None, None, 0)


@dataclass(frozen=True)
class Seconds:
    """Where the time of a run went."""

    prepare: float = 0.0
    start: float = 0.0
    fit: float = 0.0
    evaluate: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Session:
    """One call that trained epochs of a run, from the epoch `key` on, until `when`."""

    key: str
    when: float
    epochs_trained: int
    epochs_tried_again: int = 0
    seconds: Seconds = Seconds()
    workers: int = 0


@dataclass(frozen=True)
class RunResult:
    """What a run came to: finished, stopped by the guard, rolled back, or as far as it is.

    `key` is the address of the state that it ends at. Errors relative to naive are 1 where the model is as good as the
    naive forecast. `when` and `ended` are Unix times; `ended` is that of the training where `when` is a later change.
    `epochs_trained`, `seconds` and `workers` are those of the last call, `sessions` are all calls that trained its epochs.
    """

    name: str
    status: str
    key: str
    datasets: tuple[str, ...]
    stages: tuple[StageResult, ...]
    error: str  # what `error` is, in words
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
    started: float | None = None  # of a run that has not ended
    rolled_back_from: str | None = None
    message: str | None = None  # why a run that has not ended stopped
    measured_only: tuple[str, ...] = ()  # datasets that are never trained
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return what result.json holds; what is not known is left out where it is optional."""
        content = to_json(self)
        for name in ("epochs_trained", "seconds", "ended", "started", "rolled_back_from", "message", "measured_only"):
            if content[name] in (None, []):
                del content[name]
        return {**content, "test": {name: errors.to_json() for name, errors in self.test.items()}}


def result_from(content: Mapping[str, Any]) -> RunResult:
    """Return the result that result.json holds; raises DamagedRecordError where it does not hold one."""
    return from_json(RunResult, content)
