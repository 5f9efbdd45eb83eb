"""Parse number columns; an error names the line, the value that is not a number, and what to write instead."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import InputError
from data.reading.csv_file import NULLS
from data.reading.file_format import FileFormat
from data.reading.table import RowPositions, first_failure
from data.reading.texts import as_text

LARGEST = float(np.finfo(np.float32).max)


def read_numbers(positions: RowPositions, name: str, column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return the numbers of a column, NaN where missing: float32 where the file has 32 bits, otherwise float64."""
    values = _values(positions, name, column)
    wide = values.dtype != np.float32
    broken = np.flatnonzero(np.abs(values) > LARGEST if wide else np.isinf(values))
    if len(broken):
        raise InputError(
            f"{positions.at(broken[0])}, column {name!r}: {column[broken[0]].as_py()} is infinite or too large "
            "(32-bit numbers end at 3.4e38): correct it, or leave it empty where the value is missing"
        )
    return values


def read_weights(positions: RowPositions, name: str, column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return the weights of a column; raises InputError for the first that is negative, missing or not finite."""
    values = _values(positions, name, column)
    wrong = np.flatnonzero(~((values >= 0) & (values <= LARGEST)))
    if len(wrong):
        value = column[wrong[0]].as_py()
        what = "it is empty" if np.isnan(values[wrong[0]]) else f"{value} is not a weight"
        raise InputError(
            f"{positions.at(wrong[0])}, weight column {name!r}: {what}: write a number from 0 (the sample is left out) up"
        )
    return values


def _values(positions: RowPositions, name: str, column: pa.ChunkedArray) -> npt.NDArray[Any]:
    kind, form = column.type, positions.form
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        column = _parse_texts(positions, name, as_text(column))
    elif pa.types.is_temporal(kind) or pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise InputError(f"{positions.file}, column {name!r}: it holds {kind}, not numbers: name another column")
    elif pa.types.is_decimal(kind):
        # Arrow's direct conversion to float64 may differ in the last bit.
        column = column.cast(pa.string()).cast(pa.float64())
    elif not (pa.types.is_float64(kind) or pa.types.is_float32(kind)):
        column = column.cast(pa.float64(), safe=False)  # whole numbers beyond 2**53 are rounded
    values = np.asarray(column.to_numpy())
    if form.missing_numbers:
        marks = np.isin(values, np.array(form.missing_numbers, values.dtype))
        if marks.any():
            values = np.where(marks, np.array(np.nan, values.dtype), values)
    return values


def _parse_texts(positions: RowPositions, name: str, texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Parse text to numbers, bit for bit as the CSV reader does."""
    form = positions.form
    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(texts, value_set=pa.array([*NULLS, *form.missing_texts], pa.string()))
    texts = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
    plain = _plain_texts(texts, form)
    try:
        return plain.cast(pa.float64())
    except pa.ArrowInvalid:
        row = first_failure(plain, lambda some: some.cast(pa.float64()))
        text = texts[row].as_py()
        raise InputError(f"{positions.at(row)}, column {name!r}: {text!r} is not a number: {_advice(text, form)}") from None


def _plain_texts(texts: pa.ChunkedArray, form: FileFormat) -> pa.ChunkedArray:
    """Return the texts with the marks of the format replaced by Python's; a text that does not fit stays unparsable."""
    if form.decimal == "." and form.thousands is None:
        return texts
    point = re.escape(form.decimal)
    whole = r"\d+"
    if form.thousands is not None:
        mark = r"[ \x{a0}\x{202f}]" if form.thousands == " " else re.escape(form.thousands)
        grouped = pc.match_substring_regex(texts, rf"^[+-]?\d{{1,3}}({mark}\d{{3}})+({point}\d*)?([eE][+-]?\d+)?$")
        texts = pc.if_else(grouped, pc.replace_substring_regex(texts, mark, ""), texts)
    if form.decimal != ".":
        fits = pc.match_substring_regex(texts, rf"^[+-]?({whole}({point}\d*)?|{point}\d+)([eE][+-]?\d+)?$")
        # 1.5 is not a number where the comma is the decimal mark.
        odd = pc.and_(pc.invert(fits), pc.match_substring(texts, "."))
        texts = pc.if_else(odd, pc.binary_join_element_wise("not ", texts, ""), texts)
        texts = pc.if_else(fits, pc.replace_substring(texts, form.decimal, "."), texts)
    return texts


def _advice(text: str, form: FileFormat) -> str:
    """Return what to write instead of a text that is not a number."""
    if form.decimal == "." and re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", text) and form.thousands is None:
        return 'write thousands = "," in the recipe if the comma separates thousands, or decimal = "," if it is the point'
    if form.decimal == "." and re.fullmatch(r"[+-]?\d*,\d+", text):
        return 'write decimal = "," in the recipe if the comma is the decimal mark'
    if re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?", text):
        return 'write decimal = "," and thousands = "." in the recipe, or correct it'
    if re.fullmatch(r"[+-]?\d+(\.\d+)?\s*[^\d\s].*", text):
        return "leave the unit out of the cell, or leave the cell empty where the value is missing"
    return (
        f"correct it, leave it empty where the value is missing, write missing_values = [{text!r}] if it means that, "
        "or name the column in categorical"
    )
