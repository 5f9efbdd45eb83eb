"""Find the trained dataset most similar to new rows, by the distance that `inspect` shows."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.prepared.distances import Sample, energy_coefficients, window_courses
from data.prepared.prepare import prepare
from data.prepared.running import run_here
from data.reading.files import FileNotes, file_bytes
from data.reading.settings import DatasetSource
from workflows.results.trained import TrainedRun

MOST_BYTES = 1 << 28  # larger files are not read for a suggestion


def most_alike(run: TrainedRun, source: DatasetSource) -> tuple[str, float] | None:
    """Return the dataset with train windows most similar to those of `source.files`, and the distance.

    None if the files do not allow it: they lack the targets, have no complete window, cannot be read, or are too large.
    """
    if sum(file_bytes(file) for file in source.files) > MOST_BYTES:
        return None
    settings = source.settings.model_copy(update={"split": [1.0, 0.0, 0.0]})
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch:
        folder = Path(scratch)
        try:
            train_source = dataclasses.replace(source, settings=settings)
            new = prepare([train_source], folder / "prepared", FileNotes(folder / "facts"), run_here)
            *trained_samples, new_sample = map(Sample.of, window_courses([*(each.prepared for each in run.datasets), *new]))
        except InputError:
            return None
    distances = energy_coefficients(new_sample, trained_samples)
    nearest = int(np.argmin(distances))
    return run.datasets[nearest].name, max(distances[nearest], 0.0)
