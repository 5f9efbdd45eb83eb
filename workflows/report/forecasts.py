"""What a run's model says on samples that it was not trained on, beside the truth, in the targets' own units."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data.prepared.encoding import Batch, EncodedDataset
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

if TYPE_CHECKING:  # a page without forecasts needs no torch
    from workflows.results.prediction import Forecaster, Forecasts

Float = npt.NDArray[np.floating]
MAX_SAMPLES = 1000  # of a dataset: a report is a look, the errors of all samples are measured by the run
QUANTILES = {"good": 0.1, "median": 0.5, "bad": 0.9}  # of the windows' errors


@dataclass(frozen=True)
class Window:
    """One window: `history` (steps, targets), what came after it (horizon, targets), and what was said of it.

    `low` and `high` are the outermost levels of a quantile forecast.
    """

    kind: str
    error: float  # mean absolute error in scaled units, by which it was chosen
    history: Float
    truth: Float
    forecast: Float
    low: Float | None = None
    high: Float | None = None


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
    """How often a true class (row) was taken for another (column); a class that no train sample has is not counted."""

    dataset: str
    split: str
    samples: int
    classes: list[str]
    counts: npt.NDArray[np.int64]


Shown = Windows | Labels | Confusion


def look_at(store: Store, run: TrainedRun, chosen: Sequence[str]) -> list[Shown]:
    """What a run's last state says on the test samples of the chosen datasets, or on validation samples where none are."""
    from workflows.results.prediction import make_forecaster

    forecaster = make_forecaster(store, run, 0)
    places = [place for place, dataset in enumerate(run.datasets) if dataset.name in chosen]
    return [shown for place in places for shown in _look_at_one(dataclasses.replace(forecaster, dataset=place))]


def spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` of `count` places, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _look_at_one(forecaster: Forecaster) -> Iterator[Shown]:
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
    for kind, place in _chosen(errors).items():
        history = _history(dataset, split, int(samples[place]))
        window = Window(kind, float(errors[place]), history, truth[place], forecasts.point[place])
        if forecasts.levels is not None and forecasts.levels.shape[-1] > 1:
            levels = forecasts.levels[place]
            window = dataclasses.replace(window, low=levels.min(axis=-1), high=levels.max(axis=-1))
        windows.append(window)
    yield Windows(dataset.name, split, len(samples), prepared.targets, windows)


def _chosen(errors: Float) -> dict[str, int]:
    """The places of the windows whose errors are at the quantiles."""
    order = np.argsort(errors, kind="stable")
    return {kind: int(order[round(share * (len(order) - 1))]) for kind, share in QUANTILES.items()}


def _predict(forecaster: Forecaster, split: str, samples: npt.NDArray[np.int64]) -> tuple[Forecasts, npt.NDArray[Any]]:
    """The forecasts of samples, and their truth in scaled units or as class numbers."""
    dataset = forecaster.run.datasets[forecaster.dataset]
    classes = bool(dataset.encoding.classes)
    truth = np.empty(len(samples), np.int64) if classes else np.empty((len(samples), *forecaster.shape), np.float32)

    def batch(places: npt.NDArray[np.int64]) -> Batch:
        found = dataset.batch(split, samples[places])
        truth[places] = found.targets
        return found

    ((_, forecasts),) = forecaster.walk(dataset.lengths(split)[samples], batch)  # as few as are held at once
    return forecasts, truth


def _history(dataset: EncodedDataset, split: str, sample: int) -> Float:
    """The targets over the rows that go in, as they were read: NaN where they were not observed."""
    one = np.array([sample])
    ((number, _),) = dataset.prepared.groups(split, one)
    starts, lengths = dataset.prepared.place(split, number, one)
    first, width = int(starts[0]), len(dataset.prepared.targets)
    return np.asarray(dataset.prepared.parts[number].values[first : first + int(lengths[0]), -width:])
