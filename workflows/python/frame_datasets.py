"""Frames as the datasets of a recipe, prepared like files, in this process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import InputError
from data.prepared.cache import PreparedCache
from data.prepared.class_weights import with_class_weights
from data.prepared.encoding import EncodedDataset, make_encodings
from data.prepared.prepare import prepare
from data.prepared.prepared import PreparedDataset
from data.prepared.running import run_here
from data.reading.files import FileNotes
from data.reading.settings import DatasetSource, DataSettings
from data.reading.texts import as_text
from workflows.prepare.preparation import Prepared
from workflows.python.columns import DATASET, column_keys
from workflows.python.frames import as_files, is_frame, table_of
from workflows.recipe.recipe import Recipe, name_problems


@dataclass(frozen=True)
class FrameDataset:
    """One dataset of a frame: its rows, and the column value that selects them, if any."""

    name: str
    table: pa.Table
    where: dict[str, str]


@dataclass(frozen=True)
class Frames:
    """Checked frames: the datasets, the keys of [data] from their columns, and the unused columns."""

    datasets: list[FrameDataset]
    keys: dict[str, Any]
    unused: list[str]


def holds_frames(data: Any) -> bool:
    """Return whether the data are a frame, or frames by name or in a list."""
    if isinstance(data, Mapping):
        return any(map(is_frame, data.values()))
    return is_frame(data) or (isinstance(data, (list, tuple)) and bool(data) and all(map(is_frame, data)))


def check_frames(data: Any, column: str | None, keys: Mapping[str, Any]) -> Frames:
    """Return the datasets of frames by name, or of one frame split by `column` (default: `dataset`)."""
    if is_frame(data):
        whole = table_of(data, "the frame")
        column = column or (DATASET if DATASET in whole.column_names else None)
        datasets = [FrameDataset("dataset_1", whole, {})] if column is None else _split_by(whole, column)
    else:
        named = dict(data) if isinstance(data, Mapping) else {f"dataset_{n}": each for n, each in enumerate(data, 1)}
        if column is not None:
            raise InputError(f"train: dataset = {column!r} goes with one frame; in a dict of frames each name is a dataset")
        others = [name for name, frame in named.items() if not is_frame(frame)]
        if others:
            raise InputError(
                f"dataset {others[0]!r} is {type(named[others[0]]).__name__}, not a frame like others: pass frames for all"
            )
        datasets = [FrameDataset(str(name), table_of(frame, f"frame {str(name)!r}"), {}) for name, frame in named.items()]
    problems = [f"dataset {problem}" for each in datasets for problem in name_problems(each.name)]
    problems += [f"dataset {each.name!r}: its frame has no rows" for each in datasets if not each.table.num_rows]
    if problems or not datasets:
        raise InputError(problems or ["train: no frame: write {name: frame}, or one frame"])
    column_settings, unused = column_keys(datasets[0].table.schema, keys, [] if column is None else [column])
    return Frames(datasets, column_settings, unused)


def _split_by(table: pa.Table, column: str) -> list[FrameDataset]:
    """Return the rows of each value of a column, in order of first appearance: a new value changes no other dataset."""
    if column not in table.column_names:
        raise InputError(f"train: dataset = {column!r}: the frame has no such column ({', '.join(table.column_names[:12])})")
    values = as_text(table.column(column)).combine_chunks()
    if values.null_count:
        row = int(np.flatnonzero(np.asarray(values.is_null()))[0])
        raise InputError(f"the frame, row {row + 1}: the column {column!r}, which names datasets, is empty")
    codes = values.dictionary_encode()
    order = np.argsort(codes.indices.to_numpy(), kind="stable")
    ends = np.cumsum(np.bincount(codes.indices.to_numpy()))
    names = codes.dictionary.to_pylist()
    parts = np.split(order, ends[:-1])
    return [FrameDataset(name, table.take(pa.array(rows)), {column: name}) for name, rows in zip(names, parts, strict=True)]


def rows_of(name: str, table: pa.Table, wheres: Sequence[Mapping[str, str]]) -> FrameDataset:
    """Return a frame as one more dataset of a run whose datasets are split by these columns and values.

    Raises InputError if the frame has rows of several datasets.
    """
    for column in dict.fromkeys(column for where in wheres for column in where):
        if column not in table.column_names:
            continue
        values = pc.unique(as_text(table.column(column))).to_pylist()
        if len(values) != 1 or values[0] is None:
            shown = ", ".join(map(repr, values[:5]))
            raise InputError(
                f"frame {name!r}: {column} has the values {shown}: extend with the rows of one dataset at a time"
            )
        return FrameDataset(name, table, {column: values[0]})
    return FrameDataset(name, table, {})


def document_of(frames: Frames, of_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a recipe for the frames."""
    datasets = [{"name": each.name, "path": f"memory://{each.name}"} for each in frames.datasets]
    return {"data": {**of_data, **frames.keys}, "datasets": datasets}


def prepare_frames(frames: Frames, recipe: Recipe, storage: str, started: float) -> Prepared:
    """Return the datasets of a recipe from document_of; rows prepared before are not prepared again."""
    classes = recipe.model.classifies
    settings = [entry.settings for entry in recipe.entries]
    prepared, sources = write_frames(frames.datasets, settings, classes, storage)
    encodings = make_encodings(prepared, settings)
    encodings = with_class_weights(encodings, prepared, recipe.model.class_weights)
    datasets = [EncodedDataset(each, encoding) for each, encoding in zip(prepared, encodings, strict=True)]
    warnings = (
        () if not frames.unused else (f"unused columns: {', '.join(frames.unused)}: list text columns in categorical",)
    )
    epochs = [entry.keys.epochs or recipe.training.epochs for entry in recipe.entries]
    return Prepared(datasets, sources, epochs, time.perf_counter() - started, "", warnings)


def write_frames(
    datasets: Sequence[FrameDataset], settings: Sequence[DataSettings], classes: bool, storage: str
) -> tuple[list[PreparedDataset], list[DatasetSource]]:
    """Prepare frames like files, by their content; raises InputError with all problems."""
    prepared_cache = PreparedCache(storage)
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch:
        tables = {each.name: _used(each, setting) for each, setting in zip(datasets, settings, strict=True)}
        with as_files(tables, Path(scratch), lambda name: f"frame {name!r}") as paths:
            sources = [
                DatasetSource(each.name, (paths[each.name],), setting, where=each.where, classes=classes)
                for each, setting in zip(datasets, settings, strict=True)
            ]
            notes = FileNotes(Path(scratch) / "notes")
            prepared = prepare(sources, prepared_cache.folder, notes, run_here, prepared_cache.fetch, prepared_cache.remote)
    for each in prepared:
        prepared_cache.keep(each.folder.name)
    return prepared, [replace(source, files=()) for source in sources]


def _used(dataset: FrameDataset, settings: DataSettings) -> pa.Table:
    """Return the columns that are read; other columns must not change the fingerprint."""
    keys = settings.model_dump()
    values = [
        keys.get(key) for key in ("time", "series", "features", "targets", "categorical", "static", "known_future", "weight")
    ]
    wanted = {name for value in values if value for name in ([value] if isinstance(value, str) else value)}
    wanted |= {*dataset.where, *settings.rename}
    return dataset.table.select([name for name in dataset.table.column_names if name in wanted])


def labels_in(frames: Frames, target: str) -> dict[str, Any]:
    """Return the user's labels of all frames by their text."""
    labels: dict[str, Any] = {}
    for each in frames.datasets:
        values = pc.unique(each.table.column(target)).drop_null()
        labels |= dict(zip(as_text(pa.chunked_array([values])).to_pylist(), values.to_pylist(), strict=True))
    return labels
