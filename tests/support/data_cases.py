"""Helpers for the tests of data/: a frame becomes files, a prepared dataset, encoded samples. No Ray, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.prepared.encoding import Batch, EncodedDataset, make_encodings
from data.prepared.prepare import prepare
from data.prepared.prepared import PreparedDataset
from data.prepared.running import run_here
from data.reading.files import FileNotes
from data.reading.settings import DatasetSource, DataSettings

PLAIN = {"features": ["a"], "targets": ["a"], "lookback": 3, "horizon": 1, "split": [0.6, 0.2, 0.2]}


in_process = run_here  # instead of Ray Data


def settings_of(**changes: Any) -> DataSettings:
    return DataSettings(**{**PLAIN, **changes})


def source_of(
    files: Sequence[Path | str] | Path,
    *,
    name: str = "d",
    test_files: Sequence[Path] = (),
    where: dict[str, str] | None = None,
    classes: bool = False,
    **changes: Any,
) -> DatasetSource:
    paths = [files] if isinstance(files, Path) else files
    tests = tuple(str(path) for path in test_files)
    return DatasetSource(name, tuple(str(p) for p in paths), settings_of(**changes), tests, where or {}, classes)


def prepare_all(sources: Sequence[DatasetSource], folder: Path) -> list[PreparedDataset]:
    return prepare(sources, folder / "prepared", FileNotes(folder / "prepared" / "sources"), in_process)


def prepare_one(files: Sequence[Path | str] | Path, folder: Path, **changes: Any) -> PreparedDataset:
    return prepare_all([source_of(files, **changes)], folder)[0]


def prepare_frame(frame: pd.DataFrame, folder: Path, **changes: Any) -> PreparedDataset:
    return prepare_one(write_csv(frame, folder / "frame.csv"), folder, **changes)


def write_csv(frame: pd.DataFrame, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False, **options)
    return path


def encoded(prepared: PreparedDataset | Sequence[PreparedDataset]) -> list[EncodedDataset]:
    datasets = [prepared] if isinstance(prepared, PreparedDataset) else list(prepared)
    encodings = make_encodings(datasets, [each.settings for each in datasets])
    return [EncodedDataset(each, encoding) for each, encoding in zip(datasets, encodings, strict=True)]


def samples_of(prepared: PreparedDataset, split: str) -> Batch:
    """Return all samples of a split, as the model takes them."""
    (dataset,) = encoded(prepared)
    return dataset.batch(split, np.arange(dataset.num_samples(split)))


def noise(rows: int, columns: str = "a", seed: int = 0, gaps: float = 0.0) -> pd.DataFrame:
    """Return columns of normal values in float32; the share `gaps` of them is missing."""
    random = np.random.default_rng(seed)
    values = random.normal(3.0, 2.0, (rows, len(columns))).astype(np.float32)
    values[random.random(values.shape) < gaps] = np.nan
    return pd.DataFrame(values, columns=list(columns))
