"""The time of each row as whole numbers: microseconds for dates, the number itself for counts such as cycles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import InputError
from data.settings import DataSettings

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Times:
    """`value` is (rows,): microseconds since 1970 in UTC where kind is "date", plain counts where it is "number"."""

    value: Int64
    kind: Literal["date", "number"]


def show_time(value: int, kind: str) -> str:
    """A time as a person writes it."""
    if kind == "number":
        return str(value)
    text = str(np.datetime64(int(value), "us")).replace("T", " ")
    return text.removesuffix(".000000")


def parse_time(text: str) -> int:
    """An ISO 8601 time in microseconds since 1970; raises ValueError."""
    try:
        return int(np.datetime64(text.replace(" ", "T"), "us").astype(np.int64))
    except ValueError:
        raise ValueError(f"{text!r} is not a time: write it as 2016-07-01 or 2016-07-01 13:00:00") from None


def read_times(file: str, columns: list[pa.ChunkedArray], settings: DataSettings, line: Int64) -> Times:
    """The times of the rows from one column, or from the columns of a date: year, month, day, hour, minute, second."""
    names = settings.time or []
    for name, column in zip(names, columns, strict=True):
        if column.null_count:
            row = int(np.flatnonzero(np.asarray(column.is_null()))[0])
            raise InputError(f"{file}, line {line[row]}: the time column {name!r} is empty: every row needs its time")
    if len(names) > 1:
        return Times(_from_parts(file, columns, names, line), "date")
    column, name = columns[0], names[0]
    if pa.types.is_integer(column.type):
        return Times(column.to_numpy().astype(np.int64), "number")
    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        broken = np.flatnonzero(values != np.floor(values))
        if len(broken):
            raise InputError(
                f"{file}, line {line[broken[0]]}, column {name!r}: {values[broken[0]]} is neither a date nor a whole "
                "number: number the rows by whole steps, or write dates in ISO 8601"
            )
        return Times(values.astype(np.int64), "number")
    if pa.types.is_temporal(column.type):
        return Times(_microseconds(column.cast(pa.timestamp("us", _zone(column.type)), safe=False)), "date")
    column = column.cast(pa.string()).combine_chunks()
    if settings.time_format is None and pc.all(pc.match_substring_regex(column, r"^\s*-?\d+\s*$")).as_py():
        return Times(pc.utf8_trim_whitespace(column).cast(pa.int64()).to_numpy().astype(np.int64), "number")
    return Times(_from_texts(file, column, settings, line), "date")


def _zone(kind: pa.DataType) -> str | None:
    return "UTC" if getattr(kind, "tz", None) else None


def _microseconds(column: pa.ChunkedArray | pa.Array) -> Int64:
    return np.asarray(column.cast(pa.int64())).astype(np.int64)


def _from_texts(file: str, column: pa.Array, settings: DataSettings, line: Int64) -> Int64:
    def parse(texts: pa.Array) -> pa.Array:
        if settings.time_format is not None:
            return pc.strptime(texts, format=settings.time_format, unit="us")
        try:
            return texts.cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            return texts.cast(pa.timestamp("us", "UTC"))  # the same with a zone written behind each time

    try:
        return _microseconds(parse(column))
    except pa.ArrowInvalid:
        low, high = 0, len(column)  # the first row that fails, by halving
        while high - low > 1:
            middle = (low + high) // 2
            try:
                parse(column.slice(low, middle - low))
                low = middle
            except pa.ArrowInvalid:
                high = middle
        wanted = settings.time_format or "2016-07-01 13:00:00 (ISO 8601), or name its time_format in [data]"
        raise InputError(
            f"{file}, line {line[low]}, column {(settings.time or [''])[0]!r}: {column[low].as_py()!r} is not a time: "
            f"write it as {wanted}"
        ) from None


PART_RANGES = [("month", 1, 12), ("day", 1, 31), ("hour", 0, 23), ("minute", 0, 59), ("second", 0, 59)]


def _from_parts(file: str, columns: list[pa.ChunkedArray], names: list[str], line: Int64) -> Int64:
    parts = []
    for name, column in zip(names, columns, strict=True):
        try:
            parts.append(np.asarray(column.cast(pa.int64())).astype(np.int64))
        except pa.ArrowInvalid as error:
            raise InputError(f"{file}, time column {name!r}: its values must be whole numbers ({error})") from None
    for part, name, (what, low, high) in zip(parts[1:], names[1:], PART_RANGES, strict=False):
        off = np.flatnonzero((part < low) | (part > high))
        if len(off):
            raise InputError(
                f"{file}, line {line[off[0]]}, column {name!r}: {part[off[0]]} is not a {what}: the columns of time are "
                "read as year, month, day, hour, minute, second, in this order"
            )
    months = (parts[0] - 1970).astype("datetime64[Y]").astype("datetime64[M]")
    if len(parts) > 1:
        months = months + (parts[1] - 1)
    days = months.astype("datetime64[D]")
    if len(parts) > 2:
        days = days + (parts[2] - 1)
        off = np.flatnonzero(days.astype("datetime64[M]") != months)
        if len(off):
            raise InputError(f"{file}, line {line[off[0]]}: there is no day {parts[2][off[0]]} in {months[off[0]]}")
    microseconds: Int64 = days.astype("datetime64[us]").astype(np.int64)
    for part, size in zip(parts[3:], (3600, 60, 1), strict=False):
        microseconds = microseconds + part * size * 1_000_000
    return microseconds
