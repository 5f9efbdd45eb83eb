"""Forecasts of samples in memory: X in, arrays out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data.errors import InputError
from data.prepared.arrays import check_inputs
from data.prepared.new_data import finish_new
from data.samples.new_part import without_targets, write_new_part
from data.samples.series import Series
from workflows.recipe.checks import suggest
from workflows.results.trained import TrainedRun

if TYPE_CHECKING:
    from workflows.results.prediction import Forecaster, Forecasts


def check_samples(run: TrainedRun, inputs: object, dataset: str | None) -> tuple[int, list[npt.NDArray[np.float32]]]:
    """Return the index of the dataset that scales the samples, and the samples (steps, features); raises InputError."""
    samples = check_inputs("predict", inputs)
    index = _scaling_index(run, dataset, any(bool(np.isnan(each).any()) for each in samples))
    _check(run, samples, index)
    return index, samples


def forecast_arrays(run: TrainedRun, index: int, samples: Sequence[npt.NDArray[np.float32]], model: Forecaster) -> Forecasts:
    """Return one forecast for each sample, in order."""
    from workflows.results.prediction import Forecasts

    source = without_targets(run.sources[index])
    series = [Series(f"{number:09d}", sample, {}, None) for number, sample in enumerate(samples)]
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        part = write_new_part(series, source, Path(folder), 0, every=False)
        new = finish_new([part], source, run.datasets[index].encoding, Path(folder))
        batches = [forecasts for _, forecasts in model.walk(new.lengths, new.batch)]
    levels = [batch.levels for batch in batches if batch.levels is not None]
    chances = [batch.probabilities for batch in batches if batch.probabilities is not None]
    return Forecasts(
        np.concatenate([batch.point for batch in batches]),
        np.concatenate(levels) if levels else None,
        np.concatenate(chances) if chances else None,
    )


def _scaling_index(run: TrainedRun, dataset: str | None, gaps: bool) -> int:
    encodings = [each.encoding for each in run.datasets]
    scalings = {(each.center, each.scale) for each in encodings}
    if dataset is not None or len(scalings) > 1:
        return run.index_of(dataset)
    if gaps and len({each.fill for each in encodings}) > 1:
        hint = suggest("", [each.name for each in run.datasets])
        raise InputError(
            f"predict: X has missing values, and the datasets fill them differently: name one (dataset=...), {hint}"
        )
    return 0


def _check(run: TrainedRun, samples: Sequence[npt.NDArray[np.float32]], index: int) -> None:
    settings = run.sources[index].settings
    also = [*settings.categorical, *settings.calendar]
    if also:
        raise InputError(
            f"predict: the model also takes {', '.join(also)}, which an array X cannot hold: pass a frame with these columns"
        )
    if settings.known_future:
        raise InputError(
            f"predict: the model takes {', '.join(settings.known_future)} at the predicted rows, which X does not have: "
            "pass a frame with these rows, their targets empty"
        )
    if samples[0].shape[1] != len(settings.features):
        names = ", ".join(settings.features[:12])
        raise InputError(f"predict: X has {samples[0].shape[1]} features, the model {len(settings.features)} ({names})")
    shortest = settings.shortest_history
    longest = max(len(sample) for sample in samples) if settings.lookback == "all" else settings.lookback
    for number, sample in enumerate(samples):
        if not shortest <= len(sample) <= longest:
            least = f"{shortest} or more" if settings.lookback == "all" else f"{shortest} to {longest}"
            taken = str(shortest) if shortest == settings.lookback else least
            raise InputError(f"predict: sample {number} of X has {len(sample)} steps: the model takes {taken}")
        if settings.missing == "drop" and np.isnan(sample).any():
            raise InputError(f'predict: sample {number} of X has a missing value, and missing = "drop": fill it')
