"""A file of rows becomes arrays, checked: what is wrong is named by file, line and column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import InputError
from data.reading.settings import DatasetSource
from data.reading.table import NO_ROWS, NULLS, RowPlaces, as_text, check_header, first_failure, read_table
from data.reading.times import Times, read_times

Float32 = npt.NDArray[np.float32]
FILE_AS_SERIES = "{file}"
ReadTable = Callable[[str, tuple[str, ...], tuple[str, ...], str], pa.Table]


@dataclass(frozen=True)
class Rows:
    """The rows of one file, in the order of the file.

    `numbers` is (rows, features + targets) with NaN where a value is missing; a target that is a class is left out of
    it and stands in `labels`, as the categorical columns do, None where missing. `series` are the names, as strings, where
    a column has them.
    """

    file: str
    numbers: Float32
    labels: dict[str, list[str | None]]
    series: pa.ChunkedArray | None
    times: Times | None
    places: RowPlaces


def number_columns(source: DatasetSource) -> list[str]:
    """The columns that are read as numbers: features, then targets unless they are classes."""
    settings = source.settings
    return settings.features + ([] if source.classes else settings.targets)


def label_columns(source: DatasetSource) -> list[str]:
    """The columns that are read as labels: categorical features, then targets where they are classes."""
    return source.settings.categorical + (source.settings.targets if source.classes else [])


def read_rows(file: str, source: DatasetSource, with_targets: bool = True, read: ReadTable = read_table) -> Rows:
    """Read and check the columns of a file that the dataset needs; raises InputError with all that is wrong.

    `read` may remember the tables that it has read, for datasets that share a file.
    """
    settings = source.settings
    numbers, texts = wanted_columns(source, with_targets)
    labels = [name for name in label_columns(source) if name in texts]
    table = read(file, tuple(numbers), tuple(texts), settings.delimiter)
    if table.num_rows == 0:
        raise InputError(f"{file}: {NO_ROWS}")
    places = RowPlaces(file, settings.delimiter)
    for column, wanted in source.where.items():
        keep = np.asarray(pc.equal(as_text(table.column(column)), wanted).fill_null(False))
        rows = np.flatnonzero(keep) if places.rows is None else places.rows[keep]
        table, places = table.filter(pa.array(keep)), RowPlaces(file, settings.delimiter, rows)
    values = np.empty((table.num_rows, len(numbers)), np.float32)
    problems = []
    for j, name in enumerate(numbers):
        try:
            values[:, j] = _numbers(places, name, table.column(name))
        except InputError as error:
            problems += error.messages
    keys = None
    if settings.series not in (None, FILE_AS_SERIES):
        keys = as_text(table.column(settings.series))
        if keys.null_count:
            absent = np.flatnonzero(np.asarray(keys.is_null()))[0]
            problems.append(f"{places.at(absent)}: the series column {settings.series!r} is empty: name the series")
    times = None
    if settings.time:
        try:
            columns = [table.column(name) for name in settings.time]
            times = read_times(places, settings.time, columns, settings.time_format)
        except InputError as error:
            problems += error.messages
    if problems:
        raise InputError(dict.fromkeys(problems))  # a column may be a feature and a target
    return Rows(file, values, {name: as_text(table.column(name)).to_pylist() for name in labels}, keys, times, places)


def wanted_columns(source: DatasetSource, with_targets: bool = True) -> tuple[list[str], list[str]]:
    """The columns that are read as numbers, and those that are read as text."""
    settings = source.settings
    series = [] if settings.series in (None, FILE_AS_SERIES) else [str(settings.series)]
    numbers = number_columns(source) if with_targets else settings.features
    labels = label_columns(source) if with_targets else settings.categorical
    return numbers, [*labels, *series, *(settings.time or []), *source.where]


def header_problems(sources: Sequence[DatasetSource]) -> list[str]:
    """What can be seen to be wrong with the files of some datasets without reading their rows."""
    problems = []
    headers: dict[tuple[str, tuple[str, ...], str], None] = {}  # each once, in order: many datasets may share a file
    for source in sources:
        numbers, texts = wanted_columns(source)
        for file in [*source.files, *source.test_files]:
            headers[file, (*numbers, *texts), source.settings.delimiter] = None
    for file, wanted, delimiter in headers:
        try:
            check_header(file, wanted, delimiter)
        except InputError as error:
            problems += error.messages
    return problems


def distinct_values(file: str, column: str, delimiter: str) -> list[str]:
    """The values of a column, sorted, as the template {COLUMN} needs them."""
    values = pc.unique(as_text(read_table(file, [], [column], delimiter).column(column)))
    return sorted(value for value in values.to_pylist() if value is not None)


def _numbers(places: RowPlaces, name: str, column: pa.ChunkedArray) -> npt.NDArray[Any]:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        column = _parsed(places, name, as_text(column))
    elif pa.types.is_temporal(kind) or pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise InputError(f"{places.file}, column {name!r}: it holds {kind}, not numbers: name another column")
    elif not pa.types.is_floating(kind):
        column = column.cast(pa.float64(), safe=False)  # whole numbers beyond 2**53 are rounded
    with np.errstate(over="ignore"):
        values = column.to_numpy().astype(np.float32, copy=False)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise InputError(
            f"{places.at(infinite[0])}, column {name!r}: {column[infinite[0]].as_py()} is not a number that can be learnt "
            "from (32-bit numbers end at 3.4e38): correct it, or leave it empty where the value is missing"
        )
    return values  # type: ignore[no-any-return]


def _parsed(places: RowPlaces, name: str, texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers from text, to the bit as the CSV reader makes them."""
    texts = pc.utf8_trim_whitespace(texts)
    texts = pc.if_else(pc.is_in(texts, value_set=pa.array(NULLS)), pa.scalar(None, pa.string()), texts)
    try:
        return texts.cast(pa.float32())
    except pa.ArrowInvalid:
        row = first_failure(texts, lambda some: some.cast(pa.float32()))
        raise InputError(
            f"{places.at(row)}, column {name!r}: {texts[row].as_py()!r} is not a number: correct it, leave it empty where "
            "the value is missing, or name the column in categorical"
        ) from None
