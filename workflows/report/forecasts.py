"""What a run's model says on samples that it was not trained on, beside the truth, in the targets' own units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.encoding import EncodedDataset
from models.settings import ModelSettings
from workflows.chain.plan import Plan
from workflows.chain.store import Store

Float = npt.NDArray[np.floating]
MAX_SAMPLES = 1000  # of a dataset: a report is a look, the errors of all samples are measured by the run
BATCH = 64
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


def look_at(plan: Plan, key: str, store: Store, datasets: Sequence[EncodedDataset]) -> list[Shown]:
    """What the state `key` says on each dataset's test samples, or validation samples where there are none for a test."""
    import torch

    from workflows.chain.state import first_model

    model = first_model(plan)
    model.load_state_dict(store.load(key).model)
    model.eval()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small batches: threads would wait for each other
    try:
        with torch.inference_mode():
            return [shown for dataset in datasets for shown in _look_at_one(model, plan.model, dataset)]
    finally:
        torch.set_num_threads(threads)


def spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` of `count` places, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _look_at_one(model: object, settings: ModelSettings, dataset: EncodedDataset) -> Iterator[Shown]:
    split = next((split for split in ("test", "validation") if dataset.num_samples(split)), None)
    if split is None:
        return
    samples = spread(dataset.num_samples(split), MAX_SAMPLES)
    points, outputs, truth = _predict(model, settings, dataset, split, samples)
    prepared = dataset.prepared
    if prepared.classes:
        size = len(dataset.encoding.classes)
        counts = np.zeros((size, size), np.int64)
        known = truth >= 0
        np.add.at(counts, (truth[known].astype(np.int64), points[known].astype(np.int64)), 1)
        yield Confusion(dataset.name, split, len(samples), dataset.encoding.classes, counts)
        return
    center, scale = np.array(dataset.encoding.center)[-len(prepared.targets) :], dataset.target_scale
    if prepared.horizon == 0:
        both = (values[:, 0] * scale + center for values in (truth, points))
        yield Labels(dataset.name, split, len(samples), prepared.targets, *both)
        return
    errors = np.abs(points - truth).mean(axis=(1, 2))
    windows = []
    for kind, place in _chosen(errors).items():
        history = _history(dataset, split, int(samples[place]))
        low = high = None
        if settings.loss == "quantile" and len(settings.quantiles) > 1:
            levels = outputs[place].reshape(*points[place].shape, len(settings.quantiles))
            low, high = levels.min(axis=-1) * scale + center, levels.max(axis=-1) * scale + center
        truth_, forecast_ = truth[place] * scale + center, points[place] * scale + center
        windows.append(Window(kind, float(errors[place]), history, truth_, forecast_, low, high))
    yield Windows(dataset.name, split, len(samples), prepared.targets, windows)


def _chosen(errors: Float) -> dict[str, int]:
    """The places of the windows whose errors are at the quantiles."""
    order = np.argsort(errors, kind="stable")
    return {kind: int(order[round(share * (len(order) - 1))]) for kind, share in QUANTILES.items()}


def _predict(
    model: object, settings: ModelSettings, dataset: EncodedDataset, split: str, samples: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Point forecasts, all outputs, and the truth of samples, in scaled units or as class numbers."""
    import torch

    from models.losses import forecast

    points, outputs, truths = [], [], []
    # By length, so that little is padded.
    order = np.argsort(dataset.lengths(split)[samples], kind="stable")
    for places in np.array_split(order, max(-(-len(order) // BATCH), 1)):
        batch = dataset.batch(split, samples[places])
        output = model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.lengths))  # type: ignore[operator]
        shape = (batch.targets.shape[1], batch.targets.shape[2]) if batch.targets.ndim == 3 else (1, 1)
        points.append(forecast(output, shape, settings).numpy())
        outputs.append(output.float().numpy())
        truths.append(batch.targets)
    back = np.argsort(order, kind="stable")
    joined = [np.concatenate(each)[back] for each in (points, outputs, truths)]
    if not dataset.prepared.classes:
        joined = [each.astype(np.float64) for each in joined]
    return joined[0], joined[1], joined[2]


def _history(dataset: EncodedDataset, split: str, sample: int) -> Float:
    """The targets over the rows that go in, as they were read: NaN where they were not observed."""
    one = np.array([sample])
    ((number, _),) = dataset.prepared.groups(split, one)
    starts, lengths = dataset.prepared.place(split, number, one)
    first, width = int(starts[0]), len(dataset.prepared.targets)
    return np.asarray(dataset.prepared.parts[number].values[first : first + int(lengths[0]), -width:])
