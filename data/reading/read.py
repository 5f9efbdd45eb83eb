"""Read a file's rows as checked arrays; errors name file, line and column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import InputError
from data.reading.file_format import FileFormat
from data.reading.numbers import read_numbers, read_weights
from data.reading.optional import absent_columns, misspelt_problems
from data.reading.settings import DatasetSource, DataSettings
from data.reading.table import NO_ROWS, RowPositions, check_header, read_table
from data.reading.texts import as_text
from data.reading.times import Times, read_times
from data.reading.zones import Clock

FILE_AS_SERIES = "{file}"
ReadTable = Callable[[str, tuple[str, ...], tuple[str, ...], FileFormat], pa.Table]


@dataclass(frozen=True)
class Rows:
    """The rows of one file, in the order of the file.

    `numbers` (rows, features + weight + targets) is NaN where a value is missing. A class target is left out of it and kept
    in `labels`, like categorical columns, None where missing. `series` are the series names as text, where a column has
    them.
    """

    file: str
    numbers: npt.NDArray[Any]
    labels: dict[str, list[str | None]]
    series: pa.ChunkedArray | None
    times: Times | None
    positions: RowPositions


def number_columns(source: DatasetSource) -> list[str]:
    """Return the columns read as numbers: features, a weight, then targets unless they are classes."""
    settings = source.settings
    weight = [] if settings.weight is None else [settings.weight]
    return [*settings.features, *weight, *([] if source.classes else settings.targets)]


def measured_columns(source: DatasetSource) -> list[str]:
    """Return the number columns that have statistics: all but the weight."""
    settings = source.settings
    return settings.features + ([] if source.classes else settings.targets)


def measured_numbers(numbers: npt.NDArray[Any], settings: DataSettings) -> npt.NDArray[Any]:
    """Return numbers (rows, number columns) without the weight: (rows, measured columns)."""
    return numbers if settings.weight is None else np.delete(numbers, len(settings.features), axis=1)


def label_columns(source: DatasetSource) -> list[str]:
    """Return the columns read as labels: categorical features, then class targets."""
    return source.settings.categorical + (source.settings.targets if source.classes else [])


def read_rows(
    file: str, source: DatasetSource, with_targets: bool = True, read: ReadTable = read_table, clock: Clock | None = None
) -> Rows:
    """Read and check the columns that a dataset needs; raises InputError with everything that is wrong.

    `read` may cache tables for datasets that share a file. `clock`: see to_utc_in_order.
    """
    settings = source.settings
    numbers, texts = wanted_columns(source, with_targets)
    labels = [name for name in label_columns(source) if name in texts]
    absent = absent_columns(file, source)
    present_numbers, present_texts = (tuple(name for name in names if name not in absent) for names in (numbers, texts))
    table = read(file, present_numbers, present_texts, settings.file_format)
    if table.num_rows == 0:
        raise InputError(f"{file}: {NO_ROWS}")
    for name in absent:
        table = table.append_column(name, pa.nulls(table.num_rows, pa.float64() if name in numbers else pa.string()))
    positions = RowPositions(file, settings.file_format)
    for column, wanted in source.where.items():
        keep = np.asarray(pc.equal(as_text(table.column(column)), wanted).fill_null(False))
        rows = np.flatnonzero(keep) if positions.rows is None else positions.rows[keep]
        table, positions = table.filter(pa.array(keep)), RowPositions(file, settings.file_format, rows)
    problems: list[str] = []
    columns: list[npt.NDArray[Any]] = []
    weight = None if settings.weight is None or not with_targets else len(settings.features)
    for index, name in enumerate(numbers):
        try:
            columns.append((read_weights if index == weight else read_numbers)(positions, name, table.column(name)))
        except InputError as error:
            problems += error.messages
    keys = None
    if settings.series not in (None, FILE_AS_SERIES):
        keys = as_text(table.column(settings.series))
        if keys.null_count:
            absent = np.flatnonzero(np.asarray(keys.is_null()))[0]
            problems.append(f"{positions.at(absent)}: the series column {settings.series!r} is empty: name the series")
    times = None
    if settings.time:
        try:
            parts = [table.column(name) for name in settings.time]
            names = None if keys is None or not settings.time_zone else np.array(keys.to_pylist(), object)
            times = read_times(positions, settings.time, parts, settings.time_form, names, clock)
        except InputError as error:
            problems += error.messages
    if problems:
        raise InputError(dict.fromkeys(problems))  # a column may be a feature and a target
    wide = np.result_type(np.float32, *columns)  # 64 bits until the differences between rows have been looked at
    values = np.empty((table.num_rows, len(numbers)), wide)
    for index, numeric in enumerate(columns):
        values[:, index] = numeric
    return Rows(file, values, {name: as_text(table.column(name)).to_pylist() for name in labels}, keys, times, positions)


def wanted_columns(source: DatasetSource, with_targets: bool = True) -> tuple[list[str], list[str]]:
    """Return the columns read as numbers, and those read as text."""
    settings = source.settings
    series = [] if settings.series in (None, FILE_AS_SERIES) else [str(settings.series)]
    numbers = number_columns(source) if with_targets else settings.features
    labels = label_columns(source) if with_targets else settings.categorical
    return numbers, [*labels, *series, *(settings.time or []), *source.where]


def header_problems(sources: Sequence[DatasetSource]) -> list[str]:
    """Return the problems of datasets' files that the headers alone show."""
    problems = []
    headers: dict[tuple[str, tuple[str, ...], FileFormat], None] = {}  # each once, in order: many datasets may share a file
    for source in sources:
        numbers, texts = wanted_columns(source)
        needed = tuple(name for name in (*numbers, *texts) if name not in source.settings.optional)
        for file in [*source.files, *source.test_files]:
            headers[file, needed, source.settings.file_format] = None
    for file, wanted, form in headers:
        try:
            check_header(file, wanted, form)
        except InputError as error:
            problems += error.messages
    optional = [source for source in sources if source.settings.optional and not problems]
    problems += [
        problem for each in optional for file in (*each.files, *each.test_files) for problem in misspelt_problems(file, each)
    ]
    return list(dict.fromkeys(problems))


def distinct_values(file: str, column: str, form: FileFormat) -> list[str]:
    """Return the distinct values of a column in order of appearance, for the template {COLUMN}."""
    values = as_text(read_table(file, [], [column], form).column(column))
    if values.null_count:
        absent = int(np.flatnonzero(np.asarray(values.is_null()))[0])
        raise InputError(
            f"{RowPositions(file, form).at(absent)}: the column {column!r}, which names datasets, is empty: write the "
            "dataset that the row belongs to, or take the row out"
        )
    return [str(value) for value in pc.unique(values).to_pylist()]
