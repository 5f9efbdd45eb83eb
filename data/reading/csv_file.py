"""Read a CSV file as a table of text and numbers, and its records one by one to find the line for a message."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.csv as pacsv

from data.errors import InputError
from data.reading.file_format import WHITESPACE, FileFormat
from data.reading.files import open_input

NULLS = [*pacsv.ConvertOptions().null_values, "None"]  # of number columns
BLOCK_BYTES = 1 << 24


class _Squeezed(io.RawIOBase):
    """The lines of a text with each run of blanks as one, so that PyArrow reads blank-separated columns."""

    def __init__(self, text: io.TextIOBase):
        self.text, self.rest = text, b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer."""
        while not self.rest:
            lines = self.text.readlines(1 << 20)
            if not lines:
                return 0
            self.rest = "".join(" ".join(line.split()) + "\n" for line in lines).encode()
        count = min(len(buffer), len(self.rest))
        buffer[:count], self.rest = self.rest[:count], self.rest[count:]
        return count


def open_text(stream: IO[bytes], form: FileFormat, errors: str = "replace") -> io.TextIOWrapper:
    """Decode a stream by the encoding of its format."""
    encoding = "utf-8-sig" if form.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else form.encoding
    return io.TextIOWrapper(io.BufferedReader(stream), encoding, errors, newline="")  # type: ignore[type-var]


def records(file: str, form: FileFormat) -> Iterator[tuple[int, list[str]]]:
    """Return the non-blank records of a file, the header first, each with its first line number."""
    with open_input(file) as stream:
        text = open_text(stream, form)
        for _ in range(form.skip_rows):
            text.readline()
        if form.delimiter == WHITESPACE:
            for number, line in enumerate(text, form.skip_rows + 1):
                if line.strip():
                    yield number, line.split()
            return
        reader, before = csv.reader(text, delimiter=form.delimiter), 0
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                position = f"{file}, line {form.skip_rows + reader.line_num}"
                raise InputError(f"{position}: it cannot be read as CSV ({error}): correct the line") from None
            if fields is None:
                return
            if fields:
                yield form.skip_rows + before + 1, fields
            before = reader.line_num


def line_of(file: str, number: int, form: FileFormat) -> int:
    """Return the line number of a row (counted from 0), including header, blank and skipped lines."""
    wanted = number + (form.column_names is None)
    index = 0
    for index, (line, _) in enumerate(records(file, form)):
        if index == wanted:
            return line
    return index + 1


def header_of(file: str, form: FileFormat) -> list[str]:
    """Return the column names, from the header or the recipe; raises InputError for an empty file."""
    first = next(records(file, form), None)
    if first is None:
        after = f" after the {form.skip_rows} lines that skip_rows leaves out" if form.skip_rows else ""
        raise InputError(f"{file}: the file is empty{after}: give it a header and rows, or leave it out of the path")
    return first[1] if form.column_names is None else list(form.column_names)


def read_csv(file: str, numbers: list[str], texts: list[str], form: FileFormat) -> pa.Table:
    """Return the named columns: `numbers` as float64, or all as text if any of them contains something else.

    Text is unchanged: only an empty cell is missing.
    """
    types = {name: pa.float64() for name in numbers if name not in texts} | dict.fromkeys(texts, pa.string())
    if form.thousands is not None:
        types = dict.fromkeys(types, pa.string())
    try:
        return _read(file, types, form)
    except pa.ArrowInvalid as error:
        if "conversion error to double" not in str(error):
            raise
        return _read(file, dict.fromkeys(types, pa.string()), form)


def _read(file: str, types: dict[str, pa.DataType], form: FileFormat) -> pa.Table:
    uneven: list[pacsv.InvalidRow] = []

    def refuse(row: pacsv.InvalidRow) -> str:
        uneven.append(row)
        return "error"

    squeezed = form.delimiter == WHITESPACE
    convert = pacsv.ConvertOptions(
        include_columns=list(types),
        column_types=types,
        null_values=[*NULLS, *form.missing_texts],
        quoted_strings_can_be_null=True,
        decimal_point=form.decimal,
    )
    # One thread: several files are read at once, one by each Ray Data task.
    read = pacsv.ReadOptions(
        use_threads=False,
        block_size=BLOCK_BYTES,
        skip_rows=form.skip_rows,
        column_names=form.column_names,
        encoding="utf8" if squeezed else form.encoding,
    )
    # Cells may contain line breaks; allowing them costs nothing.
    parse = pacsv.ParseOptions(
        delimiter=" " if squeezed else form.delimiter, invalid_row_handler=refuse, newlines_in_values=True
    )
    try:
        with open_input(file) as stream:
            source = io.BufferedReader(_Squeezed(open_text(stream, form, "strict")), 1 << 20) if squeezed else stream
            return pacsv.read_csv(source, read_options=read, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid:
        if not uneven:
            raise
        row = uneven[0]
        shown = row.text if len(row.text) <= 60 else f"{row.text[:60]} ..."
        names = "header" if form.column_names is None else "recipe's column_names"
        number = row.number - form.skip_rows - (2 if form.column_names is None else 1)
        raise InputError(
            f"{file}, line {line_of(file, number, form)}: the row {shown!r} has {row.actual_columns} values, the {names} "
            f"{row.expected_columns} columns: correct the row, or quote the values that hold the delimiter"
        ) from None
