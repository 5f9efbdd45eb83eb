"""A file of rows becomes arrays, checked: what is wrong is named by file, line and column."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from data.errors import InputError
from data.files import open_filesystem, open_input, stem
from data.settings import DatasetSource
from data.times import Times, read_times

Float32 = npt.NDArray[np.float32]
NULLS = [*pacsv.ConvertOptions().null_values, "None"]
FILE_AS_SERIES = "{file}"


@dataclass(frozen=True)
class Rows:
    """The rows of one file, in the order of the file.

    `numbers` is (rows, features + targets) with NaN where a value is missing; a target that is a class is left out of
    it and stands in `labels`, as the categorical columns do, None where missing. `line` is the line of each row.
    """

    file: str
    numbers: Float32
    labels: dict[str, list[str | None]]
    series: npt.NDArray[np.object_] | None
    times: Times | None
    line: npt.NDArray[np.int64]


def number_columns(source: DatasetSource) -> list[str]:
    """The columns that are read as numbers: features, then targets unless they are classes."""
    settings = source.settings
    return settings.features + ([] if source.classes else settings.targets)


def label_columns(source: DatasetSource) -> list[str]:
    """The columns that are read as labels: categorical features, then targets where they are classes."""
    return source.settings.categorical + (source.settings.targets if source.classes else [])


def read_rows(file: str, source: DatasetSource, with_targets: bool = True) -> Rows:
    """Read and check the columns of a file that the dataset needs; raises InputError with all that is wrong."""
    settings = source.settings
    numbers, texts = _wanted(source, with_targets)
    labels = [name for name in label_columns(source) if name in texts]
    table = _read_table(file, numbers, texts, settings.delimiter)
    if table.num_rows == 0:
        raise InputError(f"{file}: the file has a header and no rows: give it rows, or leave it out of the path")
    line = np.arange(table.num_rows, dtype=np.int64) + 2
    for column, wanted in source.where.items():
        keep = pc.equal(_as_text(table.column(column)), wanted)
        table, line = table.filter(keep), line[np.asarray(keep.fill_null(False))]
    values = np.empty((table.num_rows, len(numbers)), np.float32)
    problems = []
    for j, name in enumerate(numbers):
        try:
            values[:, j] = _numbers(file, name, table.column(name), line)
        except InputError as error:
            problems += error.messages
            continue
        infinite = np.flatnonzero(np.isinf(values[:, j]))
        if len(infinite):
            sign = "-inf" if values[infinite[0], j] < 0 else "inf"
            problems.append(
                f"{file}, line {line[infinite[0]]}, column {name!r}: {sign} is not a number that can be learnt from: "
                "correct it, or leave it empty where the value is missing"
            )
    keys = None
    if settings.series == FILE_AS_SERIES:
        keys = np.full(table.num_rows, stem(file), dtype=object)
    elif settings.series is not None:
        keys = np.asarray(_as_text(table.column(settings.series)).to_pylist(), dtype=object)
        absent = np.flatnonzero(keys == None)  # noqa: E711
        if len(absent):
            problems.append(
                f"{file}, line {line[absent[0]]}: the series column {settings.series!r} is empty: name the series"
            )
    times = None
    if settings.time:
        try:
            times = read_times(file, [table.column(name) for name in settings.time], settings, line)
        except InputError as error:
            problems += error.messages
    if problems:
        raise InputError(problems)
    return Rows(file, values, {name: _as_text(table.column(name)).to_pylist() for name in labels}, keys, times, line)


def _wanted(source: DatasetSource, with_targets: bool) -> tuple[list[str], list[str]]:
    """The columns that are read as numbers, and those that are read as text."""
    settings = source.settings
    series = [] if settings.series in (None, FILE_AS_SERIES) else [str(settings.series)]
    numbers = number_columns(source) if with_targets else settings.features
    labels = label_columns(source) if with_targets else settings.categorical
    return numbers, [*labels, *series, *(settings.time or []), *source.where]


def check_header(file: str, source: DatasetSource) -> None:
    """Raise InputError where a file lacks a column that the dataset needs, or has no header at all."""
    numbers, texts = _wanted(source, with_targets=True)
    with _file_errors(file):
        _check_present(file, [*numbers, *texts], source.settings.delimiter)


def distinct_values(file: str, column: str, delimiter: str) -> list[str]:
    """The values of a column, sorted, as the template {COLUMN} needs them."""
    table = _read_table(file, [], [column], delimiter)
    return sorted(value for value in pc.unique(_as_text(table.column(column))).to_pylist() if value is not None)


def column_names(file: str, delimiter: str) -> list[str]:
    """The names of all columns of a file."""
    if file.lower().endswith(".parquet"):
        filesystem, inner = open_filesystem(file)
        return list(pq.read_schema(inner, filesystem=filesystem).names)
    with open_input(file) as stream:
        parse = pacsv.ParseOptions(delimiter=delimiter)
        return list(pacsv.open_csv(stream, parse_options=parse).schema.names)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


@contextlib.contextmanager
def _file_errors(file: str) -> Iterator[None]:
    """Say which file it was that PyArrow could not read."""
    try:
        yield
    except pa.ArrowInvalid as error:
        reason = "the file is empty" if "Empty CSV" in str(error) else str(error).splitlines()[0]
        raise InputError(f"{file}: {reason}: give it a header and rows that all have its columns") from None
    except OSError as error:
        raise InputError(f"{file}: it cannot be read ({error})") from None


def _check_present(file: str, wanted: Sequence[str], delimiter: str) -> None:
    present = column_names(file, delimiter)
    missing = [name for name in dict.fromkeys(wanted) if name not in present]
    if missing:
        raise InputError([_missing_column(file, name, present) for name in missing])
    twice = [name for name in wanted if present.count(name) > 1]
    if twice:
        raise InputError(f"{file}: the column {twice[0]!r} stands there twice: give each column a name of its own")


def _read_table(file: str, numbers: Sequence[str], texts: Sequence[str], delimiter: str) -> pa.Table:
    wanted = list(dict.fromkeys([*numbers, *texts]))
    with _file_errors(file):
        _check_present(file, wanted, delimiter)
        if file.lower().endswith(".parquet"):
            filesystem, inner = open_filesystem(file)
            return pq.read_table(inner, columns=wanted, filesystem=filesystem)
        types: dict[str, pa.DataType] = {name: pa.string() for name in wanted}
        types.update({name: pa.float32() for name in numbers if name not in texts})
        try:
            return _read_csv(file, wanted, types, delimiter)
        except pa.ArrowInvalid as error:
            if "conversion error" not in str(error):
                raise
            return _read_csv(file, wanted, {name: pa.string() for name in wanted}, delimiter)


def _read_csv(file: str, columns: list[str], types: dict[str, pa.DataType], delimiter: str) -> pa.Table:
    convert = pacsv.ConvertOptions(
        include_columns=columns,
        column_types=types,
        null_values=NULLS,
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    with open_input(file) as stream:
        # One thread: several files are read at once, one by each Ray Data task.
        read = pacsv.ReadOptions(use_threads=False, block_size=1 << 24)
        parse = pacsv.ParseOptions(delimiter=delimiter)
        return pacsv.read_csv(stream, read_options=read, parse_options=parse, convert_options=convert)


def _missing_column(file: str, name: str, present: list[str]) -> str:
    near = difflib.get_close_matches(name, present, 1, 0.6) or [c for c in present if c.lower() == name.lower()]
    if len(present) == 1 and any(mark in present[0] for mark in ";\t|"):
        mark = next(mark for mark in ";\t|" if mark in present[0])
        return f"{file}: its columns seem to be separated by {mark!r}: write delimiter = {mark!r} in [data]"
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(present[:12])}{' ...' if len(present) > 12 else ''}"
    return f"{file}: there is no column {name!r}: {hint}"


def _numbers(file: str, name: str, column: pa.ChunkedArray, line: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        texts = _as_text(column).to_pylist()
        for row, text in enumerate(texts):
            if text is not None and not _is_number(text):
                raise InputError(
                    f"{file}, line {line[row]}, column {name!r}: {text!r} is not a number: correct it, leave it empty "
                    "where the value is missing, or name the column in categorical"
                )
        column = pa.chunked_array([pa.array([None if text is None else float(text) for text in texts], pa.float64())])
    elif pa.types.is_temporal(kind) or pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise InputError(f"{file}, column {name!r}: it holds {kind}, not numbers: name another column")
    elif not pa.types.is_floating(kind):
        column = column.cast(pa.float64())
    with np.errstate(over="ignore"):
        return column.to_numpy().astype(np.float32)  # type: ignore[no-any-return]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
