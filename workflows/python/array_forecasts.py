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
from workflows.recipe.checks import meant
from workflows.results.trained import TrainedRun

if TYPE_CHECKING:
    from workflows.results.prediction import Forecaster, Forecasts


def place_of_arrays(run: TrainedRun, inputs: object, dataset: str | None) -> tuple[int, list[npt.NDArray[np.float32]]]:
    """Return the dataset whose scaling the samples take, and the samples (steps, features); raises InputError."""
    rows = check_inputs("predict", inputs)
    place = _scaling_of(run, dataset, any(bool(np.isnan(each).any()) for each in rows))
    _check(run, rows, place)
    return place, rows


def forecast_arrays(run: TrainedRun, place: int, rows: Sequence[npt.NDArray[np.float32]], model: Forecaster) -> Forecasts:
    """Return one forecast for each sample, in order."""
    from workflows.results.prediction import Forecasts

    source = without_targets(run.sources[place])
    series = [Series(f"{number:09d}", each, {}, None) for number, each in enumerate(rows)]
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        part = write_new_part(series, source, Path(folder), 0, every=False)
        new = finish_new([part], source, run.datasets[place].encoding, Path(folder))
        found = [forecasts for _, forecasts in model.walk(new.lengths, new.batch)]
    levels = [each.levels for each in found if each.levels is not None]
    chances = [each.probabilities for each in found if each.probabilities is not None]
    return Forecasts(
        np.concatenate([each.point for each in found]),
        np.concatenate(levels) if levels else None,
        np.concatenate(chances) if chances else None,
    )


def _scaling_of(run: TrainedRun, dataset: str | None, gaps: bool) -> int:
    encodings = [each.encoding for each in run.datasets]
    scalings = {(each.center, each.scale) for each in encodings}
    if dataset is not None or len(scalings) > 1:
        return run.index_of(dataset)
    if gaps and len({each.fill for each in encodings}) > 1:
        hint = meant("", [each.name for each in run.datasets])
        raise InputError(
            f"predict: X has missing values, and each dataset fills them its own way: name the one (dataset=...), {hint}"
        )
    return 0


def _check(run: TrainedRun, rows: Sequence[npt.NDArray[np.float32]], place: int) -> None:
    settings = run.sources[place].settings
    also = [*settings.categorical, *settings.calendar]
    if also:
        raise InputError(
            f"predict: this model takes {', '.join(also)} too, which are no numbers in X: give a frame with them"
        )
    if settings.known_future:
        raise InputError(
            f"predict: this model takes {', '.join(settings.known_future)} at the predicted rows, which X does not hold: "
            "give a frame with these rows, their targets empty"
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
