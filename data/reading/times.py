"""The time of each row as whole numbers: microseconds for dates, the number itself for counts such as cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import IN_RECIPE, InputError
from data.reading.table import RowPlaces, as_text, first_failure

Int64 = npt.NDArray[np.int64]
PLAIN, ZONED = pa.timestamp("us"), pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Times:
    """`value` is (rows,): microseconds since 1970 in UTC where kind is "date", plain counts where it is "number"."""

    value: Int64
    kind: Literal["date", "number"]
    zoned: bool = False  # whether the file had a time zone behind its times, which UTC then took the place of


def show_time(value: int, kind: str) -> str:
    """A time as a person writes it."""
    if kind == "number":
        return str(value)
    text = str(np.datetime64(int(value), "us")).replace("T", " ")
    return text.removesuffix(".000000")


def parse_time(text: str) -> int:
    """An ISO 8601 time in microseconds since 1970, in UTC where it has a zone; raises ValueError."""
    for kind in (PLAIN, ZONED):
        try:
            return int(pa.scalar(text.strip()).cast(kind).value)
        except pa.ArrowInvalid:
            continue
    raise ValueError(f"{text!r} is not a time: write it as 2016-07-01 or 2016-07-01 13:00:00")


def read_times(places: RowPlaces, names: Sequence[str], columns: list[pa.ChunkedArray], time_format: str | None) -> Times:
    """The times of the rows from one column, or from the columns of a date: year, month, day, hour, minute, second."""
    for name, column in zip(names, columns, strict=True):
        if column.null_count:
            row = int(np.flatnonzero(np.asarray(column.is_null()))[0])
            raise InputError(f"{places.at(row)}: the time column {name!r} is empty: every row needs its time")
    if len(names) > 1:
        return Times(_from_parts(places, names, columns), "date")
    column, name = columns[0], names[0]
    if pa.types.is_integer(column.type):
        return Times(column.to_numpy().astype(np.int64), "number")
    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        broken = np.flatnonzero(~np.isfinite(values) | (values != np.floor(values)))
        if len(broken):
            raise InputError(
                f"{places.at(broken[0])}, column {name!r}: {values[broken[0]]} is neither a date nor a whole number: number "
                "the rows by whole steps, or write dates in ISO 8601"
            )
        return Times(values.astype(np.int64), "number")
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        kind = ZONED if getattr(column.type, "tz", None) else PLAIN
        return Times(_microseconds(column.cast(kind, safe=False)), "date", kind == ZONED)
    if pa.types.is_temporal(column.type) or pa.types.is_nested(column.type):
        raise InputError(f"{places.file}, time column {name!r}: it holds {column.type}, not dates or numbers: name another")
    texts = pc.utf8_trim_whitespace(as_text(column))
    if time_format is None and len(texts) and pc.all(pc.match_substring_regex(texts, r"^[+-]?\d{1,18}$")).as_py():
        return Times(texts.cast(pa.int64()).to_numpy().astype(np.int64), "number")
    return _from_texts(places, name, texts, time_format)


def _microseconds(column: pa.ChunkedArray) -> Int64:
    return np.asarray(column.cast(pa.int64())).astype(np.int64)


def _from_texts(places: RowPlaces, name: str, texts: pa.ChunkedArray, time_format: str | None) -> Times:
    def parse(some: pa.ChunkedArray) -> pa.ChunkedArray:
        return some.cast(kind) if time_format is None else _by_format(some, time_format)

    kind = PLAIN  # all of a column have a zone behind them, as the first one has, or none has
    if time_format is None and len(texts):
        try:
            parse(texts.slice(0, 1))
        except pa.ArrowInvalid:
            kind = ZONED
    try:
        return Times(_microseconds(parse(texts)), "date", kind == ZONED or "%z" in (time_format or ""))
    except pa.ArrowInvalid as error:
        row = first_failure(texts, parse)
        example = '2016-07-01 13:00:00 (ISO 8601), or name its time_format, such as "%d.%m.%Y %H:%M",'
        wanted = time_format or f"{example} {IN_RECIPE}"
        if "zone offset" in str(error) and row:
            wanted = f"the rows before it are, {'with' if kind == ZONED else 'without'} a time zone"
        raise InputError(
            f"{places.at(row)}, column {name!r}: {texts[row].as_py()!r} is not a time: write it as {wanted}"
        ) from None


def _by_format(texts: pa.ChunkedArray, time_format: str) -> pa.ChunkedArray:
    """Parse by a strptime format; raises ArrowInvalid for days that no month has, too, which strptime moves on."""
    times = pc.strptime(texts, format=time_format, unit="us")
    if "%z" in time_format:
        return times
    again = pc.strftime(times.cast(pa.timestamp("s"), safe=False), format=time_format)
    odd = pc.not_equal(texts, again)
    if pc.any(odd).as_py() and pc.any(pc.not_equal(_loose(texts.filter(odd)), _loose(again.filter(odd)))).as_py():
        raise pa.ArrowInvalid("there is no such day")
    return times


def _loose(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Written alike whatever the case, the blanks and the zeros before numbers."""
    return pc.replace_substring_regex(pc.utf8_lower(texts), r"\s+|\b0+(\d)", r"\1")


PART_RANGES = [("month", 1, 12), ("day", 1, 31), ("hour", 0, 23), ("minute", 0, 59), ("second", 0, 59)]


def _from_parts(places: RowPlaces, names: Sequence[str], columns: list[pa.ChunkedArray]) -> Int64:
    parts = []
    for name, column in zip(names, columns, strict=True):
        if pa.types.is_string(column.type):
            column = pc.utf8_trim_whitespace(column)
        try:
            parts.append(np.asarray(column.cast(pa.int64())).astype(np.int64))
        except pa.ArrowInvalid:
            row = first_failure(column, lambda some: some.cast(pa.int64()))
            raise InputError(
                f"{places.at(row)}, column {name!r}: {column[row].as_py()!r} is not a whole number, as the parts of a time "
                "must be: correct it, or name one time column"
            ) from None
    for part, name, (what, low, high) in zip(parts[1:], names[1:], PART_RANGES, strict=False):
        off = np.flatnonzero((part < low) | (part > high))
        if len(off):
            raise InputError(
                f"{places.at(off[0])}, column {name!r}: {part[off[0]]} is not a {what}: the columns of time are read as "
                "year, month, day, hour, minute, second, in this order"
            )
    months = (parts[0] - 1970).astype("datetime64[Y]").astype("datetime64[M]")
    if len(parts) > 1:
        months = months + (parts[1] - 1)
    days = months.astype("datetime64[D]")
    if len(parts) > 2:
        days = days + (parts[2] - 1)
        off = np.flatnonzero(days.astype("datetime64[M]") != months)
        if len(off):
            raise InputError(
                f"{places.at(off[0])}, column {names[2]!r}: {months[off[0]]} has no day {parts[2][off[0]]}: correct it"
            )
    microseconds: Int64 = days.astype("datetime64[us]").astype(np.int64)
    for part, size in zip(parts[3:], (3600, 60, 1), strict=False):
        microseconds = microseconds + part * size * 1_000_000
    return microseconds
