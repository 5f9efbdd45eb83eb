"""Read a file as a table of the wanted columns; errors name file and line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import IN_RECIPE, InputError
from data.nearest import nearest
from data.reading.csv_file import header_of, line_of, read_csv, records
from data.reading.file_format import WHITESPACE, FileFormat
from data.reading.files import open_filesystem
from data.reading.find import hive_values
from data.reading.texts import without_empty_texts

NO_ROWS = "the file has a header and no rows: give it rows, or leave it out of the path"
MARKS = {";": ";", "\t": "\\t", "|": "|", ",": ","}  # other delimiters, and how TOML writes them
LINES_TO_LOOK_AT = 30  # in search of a header further down


@dataclass(frozen=True)
class RowPositions:
    """The positions of a table's rows in their file, resolved only when a message names one.

    `rows` are the row numbers in the file, from 0; None: all rows in order.
    """

    file: str
    form: FileFormat
    rows: npt.NDArray[np.int64] | None = None

    def at(self, row: int) -> str:
        """Return the file and line of a row (header and blank lines counted), or the row of a Parquet file; both from 1."""
        number = int(row if self.rows is None else self.rows[row])
        if self.form.kind_of(self.file) != "csv":
            return f"{self.file}, row {number + 1}"
        return f"{self.file}, line {line_of(self.file, number, self.form)}"


def read_table(file: str, numbers: Sequence[str], texts: Sequence[str], form: FileFormat) -> pa.Table:
    """Return the wanted columns of a file by their names in the recipe, and the columns of its folder names (site=north).

    CSV: `numbers` as float64, or all as text if any of them contains something else; in text only an empty cell is
    missing.
    """
    wanted = list(dict.fromkeys([*numbers, *texts]))
    with _file_errors(file, form):
        name_in_file = _names_in_file(file, wanted, form)
        kind = form.kind_of(file)
        if kind == "csv":
            in_texts = [name_in_file[name] for name in texts if name in name_in_file]
            table = read_csv(file, [name_in_file[name] for name in numbers if name in name_in_file], in_texts, form)
        elif kind == "parquet":
            filesystem, inner = open_filesystem(file)
            table = pq.ParquetFile(inner, filesystem=filesystem).read(columns=list(name_in_file.values()))
        else:
            table = _read_arrow(file, list(name_in_file.values()))
        columns = {name: table.column(in_file) for name, in_file in name_in_file.items()}
        columns |= {
            name: _repeat(value, table.num_rows) for name, value in hive_values(file).items() if name not in name_in_file
        }
        wanted_columns = pa.table({name: columns[name] for name in wanted})
    return without_empty_texts(wanted_columns, texts)


def _repeat(value: str | None, count: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.repeat(pa.scalar(value, pa.string()), count)])


def _read_arrow(file: str, names: list[str]) -> pa.Table:
    filesystem, inner = open_filesystem(file)
    with filesystem.open_input_file(inner) as source:
        try:
            return pa.ipc.open_file(source).read_all().select(names)
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).read_all().select(names)


def check_header(file: str, wanted: Sequence[str], form: FileFormat) -> None:
    """Raise InputError if a file lacks a column, or has no header."""
    with _file_errors(file, form):
        _names_in_file(file, wanted, form)


def has_column(file: str, name: str, form: FileFormat) -> bool:
    """Return whether a file, or a folder in its path, has a column of this name."""
    with _file_errors(file, form):
        present = column_names(file, form)
    return name in hive_values(file) or any(other in present for other in _aliases(name, form))


def file_has_column(file: str, name: str, form: FileFormat) -> bool:
    """Return whether the file itself has the column, ignoring its folders."""
    with _file_errors(file, form):
        return any(other in column_names(file, form) for other in _aliases(name, form))


def first_failure(column: pa.ChunkedArray, convert: Callable[[pa.ChunkedArray], object]) -> int:
    """Return the first row that `convert` rejects with ArrowInvalid, by bisection; it must reject the whole column."""
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
def _file_errors(file: str, form: FileFormat) -> Iterator[None]:
    """Convert errors of PyArrow to InputError with the file's name."""
    utf8 = form.encoding == "utf-8"
    cure = f'save the file as UTF-8, or write encoding = "latin-1" or what it is {IN_RECIPE}'
    cure = cure if utf8 else f"encoding = {form.encoding!r} does not fit the file: write the encoding it was saved in"
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: a cell is not {form.encoding} ({error.reason}): {cure}") from None
    except (pa.ArrowException, ValueError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "UTF8" in reason:
            advice = f"a cell is not UTF-8 ({reason}): {cure}"
        elif form.kind_of(file) != "csv":
            name = form.kind_of(file).capitalize()
            advice = f"it cannot be read as {name} ({reason}): write it again, or correct its suffix"
        elif "Empty CSV" in reason:
            advice = NO_ROWS
        else:
            advice = f"it cannot be read as CSV ({reason}): it needs a header, and rows with as many columns"
        raise InputError(f"{file}: {advice}") from None
    except OSError as error:
        raise InputError(f"{file}: it cannot be read ({error})") from None


def column_names(file: str, form: FileFormat) -> list[str]:
    """Return the column names of a file, as the file has them."""
    kind = form.kind_of(file)
    if kind == "csv":
        return header_of(file, form)
    if kind == "arrow":
        return _arrow_names(file)
    filesystem, inner = open_filesystem(file)
    return list(pq.read_schema(inner, filesystem=filesystem).names)


def _arrow_names(file: str) -> list[str]:
    filesystem, inner = open_filesystem(file)
    with filesystem.open_input_file(inner) as source:
        try:
            return list(pa.ipc.open_file(source).schema.names)
        except pa.ArrowInvalid:
            source.seek(0)
            return list(pa.ipc.open_stream(source).schema.names)


def _aliases(name: str, form: FileFormat) -> list[str]:
    """Return the names that a column of the recipe may have in a file."""
    renamed = [old for old, new in form.rename if new == name]
    return renamed + ([name] if name not in [old for old, _ in form.rename] else [])


def _names_in_file(file: str, wanted: Sequence[str], form: FileFormat) -> dict[str, str]:
    """Return each wanted column's name in the file; raises InputError for a missing column."""
    present, hive = column_names(file, form), hive_values(file)
    names, missing = {}, []
    for name in dict.fromkeys(wanted):
        spellings = [other for other in _aliases(name, form) if other in present]
        if len(spellings) > 1:
            raise InputError(
                f"{file}: rename makes one column {name!r} of {' and '.join(map(repr, spellings))}: rename one of them"
            )
        if spellings:
            names[name] = spellings[0]
        elif name not in hive:
            missing.append(name)
    if missing:
        raise InputError(_absent_advice(file, missing, [*present, *hive], form))
    twice = [name for name in names.values() if present.count(name) > 1]
    if twice:
        raise InputError(f"{file}: the column {twice[0]!r} appears twice: give each column its own name")
    return names


def _absent_advice(file: str, missing: list[str], present: list[str], form: FileFormat) -> list[str]:
    """Return advice about missing columns: the delimiter, the header's line, or the nearest name."""
    if form.kind_of(file) == "csv" and form.column_names is None:
        others = [mark for mark in MARKS if mark != form.delimiter and mark in present[0]]
        if len(present) == 1 and others:
            mark = MARKS[others[0]]
            return [f'{file}: its columns seem to be separated by "{mark}": write delimiter = "{mark}" {IN_RECIPE}']
        for line, fields in islice(records(file, form), 1, LINES_TO_LOOK_AT):
            if set(missing) <= set(fields):
                return [f"{file}: its header seems to be line {line}: write skip_rows = {line - 1} {IN_RECIPE}"]
        if (
            len(present) == 1
            and len(present[0].split()) > 1
            and form.delimiter != WHITESPACE
            and " " not in "".join(missing)
        ):
            advice = f'its columns seem to be separated by blanks: write delimiter = "{WHITESPACE}" {IN_RECIPE}'
            return [f"{file}: {advice}"]
        if "\ufffd" in "".join(present):
            advice = f'its header is not {form.encoding}: write encoding = "latin-1", or what it is, {IN_RECIPE}'
            return [f"{file}: there is no column {missing[0]!r}, and {advice}"]
        if all(_is_number(name) for name in present):
            names = f"it has no header ({', '.join(present[:4])} ...): write column_names = [...], a name for each column,"
            return [f"{file}: {names} {IN_RECIPE}"]
    return [f"{file}: there is no column {name!r}: {_nearest(name, present)}" for name in missing]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nearest(name: str, present: list[str]) -> str:
    near = nearest(name, present)
    if near is not None:
        return f"did you mean {near!r}?"
    return f"it has {', '.join(present[:12])}{' ...' if len(present) > 12 else ''}"
