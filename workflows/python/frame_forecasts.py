"""Forecasts of frames: new rows in, a frame of the same library out, with columns that join the later rows."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.errors import InputError
from data.reading.settings import DataSettings
from data.samples.new_part import run_new_task
from workflows.loggers.notebook_line import level_of_caller
from workflows.python.columns import SERIES, TIME
from workflows.python.frames import as_files, is_frame, like, schema_of, table_of
from workflows.recipe.recipe import name_problems
from workflows.results.forecast_rows import Wanted, forecasts_of
from workflows.results.new_rows import shares_of
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

NEW = "new rows"


def predict_frame(
    store: Store, run: TrainedRun, data: Any, dataset: str | None, wanted: Wanted, labels: Mapping[str, Any]
) -> Any:
    """Return the forecasts of a frame, or of frames by dataset, as one frame of the same kind.

    The frame is read as files are: see `predict_files`, and `forecast_rows` for its columns.
    """
    frames = {str(name): frame for name, frame in data.items()} if isinstance(data, Mapping) else {NEW: data}
    others = [name for name, frame in frames.items() if not is_frame(frame)]
    problems = [f"dataset {problem}" for name in frames for problem in name_problems(name)]
    if others or problems or not frames:
        raise InputError(
            problems or [f"predict: {', '.join(others) or 'the input'} is no frame: pass a frame, or {{dataset: frame}}"]
        )
    columns = {name for source in run.sources for name in _read_columns(source.settings, source.where)}
    tables = {name: table_of(frame, _label(name), sorted(columns)) for name, frame in frames.items()}
    with (
        tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch,
        as_files(tables, Path(scratch), _label) as paths,
        forecasts_of(
            store,
            run,
            shares_of(run, dataset, list(paths.values())),
            wanted,
            lambda tasks, files: [run_new_task(task) for task in tasks],
        ) as forecasts,
    ):
        table = pa.Table.from_batches(forecasts.batches(), forecasts.schema)
        for words in forecasts.warnings:
            warnings.warn(words, UserWarning, stacklevel=level_of_caller())
    first = next(iter(frames))
    typed = _with_input_types(table, schema_of(frames[first], tables[first]), run)
    return like(frames[first], _with_labels(typed, run.datasets[0].prepared.targets[0], labels))


def _label(name: str) -> str:
    return "the frame" if name == NEW else f"frame {name!r}"


def _read_columns(settings: DataSettings, where: Mapping[str, str]) -> set[str]:
    """Return all columns that reading new rows may need, by either of their names."""
    values = settings.model_dump()
    named = [values.get(key) for key in ("time", "series", "features", "targets", "categorical", "static", "known_future")]
    columns = {name for value in named if value for name in ([value] if isinstance(value, str) else value)}
    return columns | {*settings.rename, *where, TIME, SERIES}


def _with_input_types(table: pa.Table, input_schema: pa.Schema, run: TrainedRun) -> pa.Table:
    """Return the forecasts with dataset, series and times in the types of the input rows, so that both can be joined."""
    settings, kinds = run.sources[0].settings, dict[str, pa.DataType]()
    columns = {"dataset": next(iter(run.sources[0].where), None), "series": settings.series}
    kinds |= {
        name: input_schema.field(column).type
        for name, column in columns.items()
        if column in input_schema.names and name in table.column_names
    }
    if settings.time is not None and len(settings.time) == 1 and settings.time[0] in input_schema.names:
        input_time, forecast_time = input_schema.field(settings.time[0]).type, table.schema.field("time").type
        if (
            pa.types.is_timestamp(input_time)
            and pa.types.is_timestamp(forecast_time)
            and (input_time.tz or not forecast_time.tz)
        ):
            kinds |= {"cutoff": input_time, "time": input_time}
    for name, kind in kinds.items():
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # text does not convert to this type
            table = _with_column(table, name, table.column(name).cast(kind, safe=False))
    return table


def _with_labels(table: pa.Table, target: str, labels: Mapping[str, Any]) -> pa.Table:
    """Return the forecasts with the user's class labels."""
    if not labels or target not in table.column_names:
        return table
    return _with_column(table, target, pa.array([labels.get(label, label) for label in table.column(target).to_pylist()]))


def _with_column(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)
