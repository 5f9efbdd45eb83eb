"""Forecasts of a run's final model on test samples, with the observed values, in the targets' units."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data.prepared.encoding import Batch, EncodedDataset
from data.prepared.manifest import Manifest
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

if TYPE_CHECKING:  # a report without forecasts needs no torch
    from workflows.results.prediction import Forecaster, Forecasts

Float = npt.NDArray[np.floating]
MAX_SAMPLES = 1000  # of each dataset, for the pictures only; the run has the errors over all samples
QUANTILES = {"good": 0.1, "median": 0.5, "bad": 0.9}  # of the windows' errors


@dataclass(frozen=True)
class Window:
    """One window: `history` (steps, targets), then `truth` and `forecast` (horizon, targets).

    `low` and `high` are the lowest and highest quantile of a quantile forecast.
    """

    kind: str
    error: float  # mean absolute error in scaled units
    history: Float
    truth: Float
    forecast: Float
    low: Float | None = None
    high: Float | None = None
    times: npt.NDArray[np.datetime64] | None = None  # (steps + horizon,); None if the rows have no regular dates


@dataclass(frozen=True)
class Windows:
    """A good, a median and a bad window of a dataset."""

    dataset: str
    split: str
    samples: int
    targets: list[str]
    windows: list[Window]


@dataclass(frozen=True)
class Labels:
    """Predicted and true numbers of samples with one label each: (samples, targets)."""

    dataset: str
    split: str
    samples: int
    targets: list[str]
    truth: Float
    forecast: Float


@dataclass(frozen=True)
class Confusion:
    """Counts of true class (row) and predicted class (column); samples of classes unseen in training are left out."""

    dataset: str
    split: str
    samples: int
    classes: list[str]
    counts: npt.NDArray[np.int64]


Shown = Windows | Labels | Confusion


def sample_forecasts(store: Store, run: TrainedRun, chosen: Sequence[str]) -> list[Shown]:
    """Return forecasts on test samples of the chosen datasets, or on validation samples if there is no test split."""
    from workflows.results.prediction import make_forecaster

    forecaster = make_forecaster(store, run, 0)
    indices = [index for index, dataset in enumerate(run.datasets) if dataset.name in chosen]
    return [shown for index in indices for shown in _dataset_forecasts(dataclasses.replace(forecaster, dataset=index))]


def spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most `most` evenly spaced indices below `count`, including the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _dataset_forecasts(forecaster: Forecaster) -> Iterator[Shown]:
    from workflows.results.prediction import in_units

    dataset = forecaster.run.datasets[forecaster.dataset]
    split = next((split for split in ("test", "validation") if dataset.num_samples(split)), None)
    if split is None:
        return
    samples = spread(dataset.num_samples(split), MAX_SAMPLES)
    forecasts, scaled = _predict(forecaster, split, samples)
    prepared, classes = dataset.prepared, dataset.encoding.classes
    if classes:
        counts = np.zeros((len(classes), len(classes)), np.int64)
        known = scaled >= 0
        predicted = np.array([classes.index(label) for label in forecasts.point[known]], np.int64)
        np.add.at(counts, (scaled[known], predicted), 1)
        yield Confusion(dataset.name, split, len(samples), classes, counts)
        return
    truth = in_units(scaled, dataset.encoding)
    if prepared.horizon == 0:
        yield Labels(dataset.name, split, len(samples), prepared.targets, truth[:, 0], forecasts.point[:, 0])
        return
    errors = (np.abs(forecasts.point - truth) / dataset.target_scale).mean(axis=(1, 2))
    windows = []
    for kind, index in _representative_windows(errors).items():
        history, times = _history(dataset, split, int(samples[index]))
        window = Window(kind, float(errors[index]), history, truth[index], forecasts.point[index], times=times)
        if forecasts.levels is not None and forecasts.levels.shape[-1] > 1:
            levels = forecasts.levels[index]
            window = dataclasses.replace(window, low=levels.min(axis=-1), high=levels.max(axis=-1))
        windows.append(window)
    yield Windows(dataset.name, split, len(samples), prepared.targets, windows)


def _representative_windows(errors: Float) -> dict[str, int]:
    """Return the index of the window at each quantile of the errors."""
    order = np.argsort(errors, kind="stable")
    return {kind: int(order[round(share * (len(order) - 1))]) for kind, share in QUANTILES.items()}


def _predict(forecaster: Forecaster, split: str, samples: npt.NDArray[np.int64]) -> tuple[Forecasts, npt.NDArray[Any]]:
    """Return the forecasts of samples and their true values, scaled or as class numbers."""
    dataset = forecaster.run.datasets[forecaster.dataset]
    classes = bool(dataset.encoding.classes)
    truth = np.empty(len(samples), np.int64) if classes else np.empty((len(samples), *forecaster.shape), np.float32)

    def batch(indices: npt.NDArray[np.int64]) -> Batch:
        encoded = dataset.batch(split, samples[indices])
        truth[indices] = encoded.targets
        return encoded

    ((_, forecasts),) = forecaster.walk(dataset.lengths(split)[samples], batch)  # MAX_SAMPLES fit one block
    return forecasts, truth


def _history(dataset: EncodedDataset, split: str, sample: int) -> tuple[Float, npt.NDArray[np.datetime64] | None]:
    """Return the targets over the input rows in their units, NaN where missing, and the times of input and forecast."""
    one = np.array([sample])
    ((number, _),) = dataset.prepared.groups(split, one)
    starts, lengths = dataset.prepared.locate(split, number, one)
    first, width = int(starts[0]), len(dataset.prepared.targets)
    steps = int(lengths[0])
    times = row_times(dataset.prepared.manifest, number)
    return (
        np.asarray(dataset.prepared.parts[number].values[first : first + steps, -width:]),
        None if times is None else times[first : first + steps + dataset.prepared.horizon],
    )


def row_times(manifest: Manifest, number: int) -> npt.NDArray[np.datetime64] | None:
    """Return the time of every row of a part, computed from the first and the last one; None if that is not possible.

    It is possible if the part has one series on a grid of equal steps (`frequency`) and all its rows belong to a split.
    """
    part = manifest.parts[number]
    whole = part.num_series == 1 and part.used_rows == part.rows > 1
    if part.time_span is None or not whole or not isinstance(manifest.settings.get("frequency"), str):
        return None
    first, last = part.time_span
    step, rest = divmod(last - first, part.rows - 1)
    if rest:  # steps of unequal length, such as months
        return None
    return np.asarray(first + step * np.arange(part.rows)).astype("datetime64[us]")
