"""A file becomes a table of the columns that are wanted; what cannot be read is named by file and line."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from data.errors import IN_RECIPE, InputError
from data.reading.files import is_parquet, open_filesystem, open_input

NULLS = [*pacsv.ConvertOptions().null_values, "None"]
NO_ROWS = "the file has a header and no rows: give it rows, or leave it out of the path"
MARKS = {";": ";", "\t": "\\t", "|": "|", ",": ","}  # what else separates columns, and how TOML writes it


@dataclass(frozen=True)
class RowPlaces:
    """Where the rows of a table stand in their file, looked up only when a message has to name one.

    `rows` are the numbers that the rows have in the file, from 0; absent: they are all there.
    """

    file: str
    delimiter: str
    rows: npt.NDArray[np.int64] | None = None

    def at(self, row: int) -> str:
        """The file and the line of a row, its header and blank lines counted; in Parquet the row. Both begin at 1."""
        number = int(row if self.rows is None else self.rows[row])
        if is_parquet(self.file):
            return f"{self.file}, row {number + 1}"
        return f"{self.file}, line {_line_of(self.file, number, self.delimiter)}"


def _line_of(file: str, number: int, delimiter: str) -> int:
    with open_input(file) as stream:
        text = io.TextIOWrapper(io.BufferedReader(stream), "utf-8", "replace", newline="")  # type: ignore[type-var]
        reader, row, before = csv.reader(text, delimiter=delimiter), -1, 0
        for fields in reader:
            if fields:
                if row == number:
                    return before + 1
                row += 1
            before = reader.line_num
    return number + 2


def read_table(file: str, numbers: Sequence[str], texts: Sequence[str], delimiter: str) -> pa.Table:
    """The wanted columns of a file. CSV: `numbers` as float32, or all as text where one of them holds anything else."""
    wanted = list(dict.fromkeys([*numbers, *texts]))
    with _file_errors(file):
        _check_present(file, wanted, delimiter)
        if is_parquet(file):
            filesystem, inner = open_filesystem(file)
            return pq.ParquetFile(inner, filesystem=filesystem).read(columns=wanted)
        types = {name: pa.string() if name in texts else pa.float32() for name in wanted}
        try:
            return _read_csv(file, types, delimiter)
        except pa.ArrowInvalid as error:
            if "conversion error to float" not in str(error):
                raise
            return _read_csv(file, dict.fromkeys(wanted, pa.string()), delimiter)


def check_header(file: str, wanted: Sequence[str], delimiter: str) -> None:
    """Raise InputError where a file lacks a column, or has no header at all."""
    with _file_errors(file):
        _check_present(file, wanted, delimiter)


def column_names(file: str, delimiter: str) -> list[str]:
    """The columns that a file has; raises InputError where it cannot be read."""
    with _file_errors(file):
        return _column_names(file, delimiter)


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as strings."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def first_failure(column: pa.ChunkedArray, convert: Callable[[pa.ChunkedArray], object]) -> int:
    """The first row that `convert` refuses with ArrowInvalid, by halving; it must refuse the column as a whole."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(column.slice(low, middle - low))
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


@contextlib.contextmanager
def _file_errors(file: str) -> Iterator[None]:
    """Say which file it was that PyArrow could not read."""
    try:
        yield
    except UnicodeDecodeError:
        raise InputError(f"{file}: its header is not UTF-8: save the file as UTF-8") from None
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        if "UTF8" in reason:
            advice = f"a cell is not UTF-8 ({reason}): save the file as UTF-8"
        elif is_parquet(file):
            advice = f"it cannot be read as Parquet ({reason}): write it anew, or give it the suffix of what it is"
        elif "Empty CSV" in reason:
            advice = NO_ROWS
        else:
            advice = f"it cannot be read as CSV ({reason}): give it a header and rows that all have its columns"
        raise InputError(f"{file}: {advice}") from None
    except OSError as error:
        raise InputError(f"{file}: it cannot be read ({error})") from None


def _column_names(file: str, delimiter: str) -> list[str]:
    if is_parquet(file):
        filesystem, inner = open_filesystem(file)
        return list(pq.read_schema(inner, filesystem=filesystem).names)
    with open_input(file) as stream:  # the header alone, so that a row that is wrong does not hide what it says
        lines = io.BufferedReader(stream)  # type: ignore[type-var]
        header = next((line for line in lines if line.rstrip(b"\r\n")), b"")
    if not header:
        raise InputError(f"{file}: the file is empty: give it a header and rows, or leave it out of the path")
    parse = pacsv.ParseOptions(delimiter=delimiter)
    return list(pacsv.read_csv(pa.BufferReader(header.rstrip(b"\r\n") + b"\n"), parse_options=parse).schema.names)


def _check_present(file: str, wanted: Sequence[str], delimiter: str) -> None:
    present = _column_names(file, delimiter)
    missing = [name for name in dict.fromkeys(wanted) if name not in present]
    others = [mark for mark in MARKS if mark != delimiter and mark in present[0]]
    if missing and len(present) == 1 and others:
        mark = MARKS[others[0]]
        raise InputError(f'{file}: its columns seem to be separated by "{mark}": write delimiter = "{mark}" {IN_RECIPE}')
    if missing:
        raise InputError([f"{file}: there is no column {name!r}: {_nearest(name, present)}" for name in missing])
    twice = [name for name in wanted if present.count(name) > 1]
    if twice:
        raise InputError(f"{file}: the column {twice[0]!r} stands there twice: give each column a name of its own")


def _nearest(name: str, present: list[str]) -> str:
    near = [other for other in present if other.strip().lower() == name.strip().lower()]
    near += difflib.get_close_matches(name, present, 1, 0.6)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(present[:12])}{' ...' if len(present) > 12 else ''}"


def _read_csv(file: str, types: dict[str, pa.DataType], delimiter: str) -> pa.Table:
    uneven: list[pacsv.InvalidRow] = []

    def refuse(row: pacsv.InvalidRow) -> str:
        uneven.append(row)
        return "error"

    convert = pacsv.ConvertOptions(
        include_columns=list(types),
        column_types=types,
        null_values=NULLS,
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    # One thread: several files are read at once, one by each Ray Data task.
    read = pacsv.ReadOptions(use_threads=False, block_size=1 << 24)
    parse = pacsv.ParseOptions(delimiter=delimiter, invalid_row_handler=refuse)
    try:
        with open_input(file) as stream:
            return pacsv.read_csv(stream, read_options=read, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        if not uneven:
            raise
        row = uneven[0]
        shown = row.text if len(row.text) <= 60 else f"{row.text[:60]} ..."
        raise InputError(
            f"{RowPlaces(file, delimiter).at(row.number - 2)}: the row {shown!r} has {row.actual_columns} values, the "
            f"header {row.expected_columns} columns: correct the row, or quote the values that hold the delimiter"
        ) from None
