"""A panel of series, the layouts of files that hold it, and the comparison of two prepared datasets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_cases import prepare_one, write_csv

from data.errors import InputError
from data.prepared import layout
from data.prepared.cache import PreparedCache
from data.prepared.finish import finish
from data.prepared.prepare import prepare
from data.prepared.prepared import PreparedDataset
from data.prepared.running import Run, run_here
from data.reading.files import FileNotes
from data.reading.settings import SPLITS, DatasetSource
from data.sharding import parts
from data.sharding.pieces import survey
from data.sharding.shard import OutputFolders, prepare_parts
from data.sharding.tasks import Outcome, run_task

SERIES, ROWS = 5, 400
PANEL: dict[str, Any] = {
    "features": ["a", "b"],
    "targets": ["b"],
    "categorical": ["kind"],
    "calendar": ["hour"],
    "missing_flags": True,
    "time": "t",
    "series": "site",
    "frequency": "1h",
    "lookback": 12,
    "min_lookback": 3,
    "horizon": 3,
    "stride": 2,
}


def cut_into_parts(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Cut all datasets, whatever their size, into parts of so many rows."""
    patch.setattr(layout, "CUT_BYTES", 0)
    patch.setattr(parts, "PART_BYTES", 1)
    patch.setattr(parts, "FEWEST_ROWS", rows)


def prepared_in(address: str, source: DatasetSource, run: Run = run_here) -> PreparedDataset:
    """Prepare a dataset in a storage, as a command does."""
    cached = PreparedCache(address)
    notes = FileNotes(cached.folder / "sources")
    return prepare([source], cached.folder, notes, run, cached.fetch, cached.remote)[0]


def panel(num_series: int = SERIES, rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Return series of different lengths, with absent steps, missing values, long gaps, missing targets and categories."""
    random, frames = np.random.default_rng(seed), []
    for number in range(num_series):
        length = rows - 37 * number
        values = random.normal(number, 1 + number, (length, 2)).round(3)
        values[random.random(values.shape) < 0.05] = np.nan
        values[length // 3 : length // 3 + 60, number % 2] = np.nan
        frame = pd.DataFrame(values, columns=["a", "b"])
        frame["t"] = pd.date_range("2024-01-01", periods=length, freq="h") + pd.Timedelta(days=number)
        frame["site"] = f"s{number}"
        frame["kind"] = random.choice(["x", "y", "z"], length)
        frame.loc[length - 20 :, "kind"] = "late"
        frame["w"] = np.arange(length) % 4 / 2
        keep = (random.random(length) > 0.1) | (np.arange(length) == 0)
        frames.append(frame[keep])
    return pd.concat(frames, ignore_index=True)


def rows_of(dataset: PreparedDataset) -> bytes:
    """Return the rows of the dataset, each once."""
    pairs = zip(dataset.parts, dataset.manifest.parts, strict=True)
    return b"".join(part.values[facts.overlap :].tobytes() for part, facts in pairs)


def windows_of(dataset: PreparedDataset, split: str) -> list[bytes]:
    windows = []
    for part in dataset.parts:
        for start, length in zip(part.samples[split].starts.tolist(), part.samples[split].lengths.tolist(), strict=True):
            windows.append(part.values[start : start + length + dataset.horizon].tobytes())
    return windows


def digest_of(dataset: PreparedDataset) -> str:
    """Return a hash of rows, samples by their rows in the dataset, statistics and counts: the same however it was cut."""
    digest, begin = hashlib.sha256(), 0
    samples: dict[str, list[Any]] = {split: [] for split in SPLITS}
    for part, facts in zip(dataset.parts, dataset.manifest.parts, strict=True):
        digest.update(part.values[facts.overlap :].tobytes())
        for split, each in part.samples.items():
            samples[split].append(np.stack([each.starts - facts.overlap + begin, each.lengths]))
        begin += len(part.values) - facts.overlap
    for split in SPLITS:
        digest.update(np.concatenate(samples[split], axis=1).tobytes())
    manifest = dataset.manifest
    for name in ("rows", "num_series", "samples", "used_rows", "missing", "longest_gap", "time_span", "warnings"):
        digest.update(json.dumps(getattr(manifest, name), sort_keys=True).encode())
    digest.update(json.dumps([manifest.statistics.to_json(), repr(manifest.counts)]).encode())
    digest.update(json.dumps({name: dataset.train_categories(name) for name in dataset.settings.categorical}).encode())
    return digest.hexdigest()


def same(one: PreparedDataset, other: PreparedDataset) -> None:
    assert rows_of(one) == rows_of(other)
    for split in SPLITS:
        assert windows_of(one, split) == windows_of(other, split)
    assert one.statistics.to_json() == other.statistics.to_json()
    manifest, expected = one.manifest, other.manifest
    for name in ("rows", "num_series", "samples", "used_rows", "missing", "longest_gap", "time_span", "counts", "warnings"):
        assert getattr(manifest, name) == getattr(expected, name), name
    for column in one.settings.categorical:
        assert one.train_categories(column) == other.train_categories(column)


def whole_of(frame: pd.DataFrame, folder: Path, **changes: Any) -> PreparedDataset:
    """Return the reference: one file, read and prepared in one piece."""
    return prepare_one(write_csv(frame, folder / "whole" / "all.csv"), folder / "reference", **{**PANEL, **changes})


def by_series(frame: pd.DataFrame, folder: Path) -> list[Path]:
    return [write_csv(rows, folder / "l1" / f"{name}.csv") for name, rows in frame.groupby("site")]


def by_time(frame: pd.DataFrame, folder: Path) -> list[Path]:
    months = frame.groupby(frame["t"].dt.strftime("%Y-%m-%d"))
    return [write_csv(rows.sample(frac=1, random_state=1), folder / "l2" / f"{name}.csv") for name, rows in months]


def row_groups(frame: pd.DataFrame, folder: Path) -> list[Path]:
    (folder / "l4").mkdir()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "l4" / "all.parquet", row_group_size=90)
    return [folder / "l4" / "all.parquet"]


def one_csv(frame: pd.DataFrame, folder: Path) -> list[Path]:
    return [write_csv(frame.assign(note='two\n"lines"'), folder / "l5" / "all.csv")]


LAYOUTS = {"by series": by_series, "by time": by_time, "row groups": row_groups, "one CSV": one_csv}


def here(tasks: Sequence[Any]) -> list[Outcome]:
    return [run_task(task) for task in tasks]


def prepare_cut(source: DatasetSource, folder: Path, most_rows: int, piece_bytes: int = 4000) -> PreparedDataset:
    (folder / "parts").mkdir(parents=True)
    surveys = {file: survey(file, source.settings.file_format, piece_bytes) for file in (*source.files, *source.test_files)}
    folders = OutputFolders(str(folder / "runs"), str(folder / "parts"))
    parts = prepare_parts(source, surveys, folders, here, most_rows, piece_bytes)
    problems = finish(source, parts, folder / "parts", "cut")
    if problems:
        raise InputError(problems)
    return PreparedDataset(folder / "parts")
