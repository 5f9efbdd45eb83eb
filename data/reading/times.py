"""The time of each row as a whole number: microseconds for dates, the number itself for counts such as cycles."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import IN_RECIPE, InputError
from data.reading.date_parts import from_parts
from data.reading.frequency import MICROSECONDS
from data.reading.looks import likely_format
from data.reading.table import RowPositions, first_failure
from data.reading.texts import as_text
from data.reading.time_text import PLAIN, ZONED, format_is_zoned, has_offset, microseconds, parse_format, parse_iso
from data.reading.zones import Clock, skipped_rows, to_local, to_utc, to_utc_in_order

Int64 = npt.NDArray[np.int64]
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}  # microseconds of each; ns are divided
AS_NUMBERS = "step"  # time_unit of whole numbers that count steps


@dataclass(frozen=True)
class TimeForm:
    """How times are written: `time_format`, `time_unit` and `time_zone` of the settings."""

    format: str | None = None
    unit: str | None = None
    zone: str | None = None


@dataclass(frozen=True)
class Times:
    """The times of rows.

    `value` (rows,) has microseconds since 1970 if kind is "date", plain counts if it is "number". `zoned`: the
    microseconds are UTC; otherwise they are local times of an unknown zone. `zone` is the recipe's time_zone.
    """

    value: Int64
    kind: Literal["date", "number"]
    zoned: bool = False
    zone: str | None = None

    @property
    def local(self) -> Int64:
        """Return local times: in the recipe's zone, otherwise `value`."""
        return to_local(self.value, self.zone if self.zoned else None)

    def show(self, row: int) -> str:
        """Return the time of a row as text."""
        return show_time(int(self.value[row]), self.kind, self.zone if self.zoned else None) + (
            " UTC" if self.zoned and self.zone is None else ""
        )


def show_time(value: int, kind: str, zone: str | None = None) -> str:
    """Return a time as text, in local time where a zone is known."""
    if kind == "number":
        return str(value)
    local = to_local(np.array([value], np.int64), zone)[0]
    text = str(np.datetime64(int(local), "us")).replace("T", " ")
    return text.removesuffix(".000000")


def show_step(step: int, kind: str) -> str:
    """Return a duration in its largest whole unit; months are approximate."""
    if kind == "number":
        return str(step)
    for unit, size in reversed(MICROSECONDS.items()):
        if unit == "d" and step >= 28 * size:
            return f"about {step // size} d"
        if unit != "w" and step >= size and step % size == 0:
            return f"{step // size} {unit}"
    return f"{step} us"


def parse_time(text: str, zone: str | None = None) -> int:
    """Return the microseconds of an ISO 8601 time, in UTC if it has an offset or a zone; raises ValueError."""
    for kind in (PLAIN, ZONED):
        try:
            value = int(pa.scalar(text.strip()).cast(kind).value)
        except pa.ArrowInvalid:
            continue
        return value if kind == ZONED else int(to_utc(np.array([value], np.int64), zone)[0])
    raise ValueError(f"{text!r} is not a time: write it as 2016-07-01 or 2016-07-01 13:00:00")


def read_times(
    positions: RowPositions,
    names: Sequence[str],
    columns: list[pa.ChunkedArray],
    form: TimeForm,
    keys: npt.NDArray[np.object_] | None = None,
    clock: Clock | None = None,
) -> Times:
    """Read the times of rows from one column, a date and a time column, or the parts of a date (year, month, day, ...).

    `keys` are the series of the rows, needed to resolve repeated local hours (each series has them twice). `clock`: see
    to_utc_in_order.
    """
    for name, column in zip(names, columns, strict=True):
        if column.null_count:
            row = int(np.flatnonzero(np.asarray(column.is_null()))[0])
            raise InputError(f"{positions.at(row)}: the time column {name!r} is empty: every row needs its time")
    times = _read(positions, names, columns, form)
    if times.kind == "number" or form.zone is None:
        return times
    if times.zoned:
        return Times(times.value, "date", True, form.zone)
    never = skipped_rows(times.value, form.zone)
    if len(never):
        raise InputError(
            f"{positions.at(never[0])}, time {times.show(never[0])}: the clock in {form.zone} skips this time in spring: "
            "correct it, or, if the file keeps one UTC offset all year, write a time_zone with this offset, such as "
            '"UTC" or "Etc/GMT-1" (an hour ahead of UTC)'
        )
    return Times(to_utc_in_order(times.value, form.zone, keys, clock), "date", True, form.zone)


def _read(positions: RowPositions, names: Sequence[str], columns: list[pa.ChunkedArray], form: TimeForm) -> Times:
    if len(names) > 1:
        return _from_several(positions, names, columns, form)
    column, name = columns[0], names[0]
    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        broken = np.flatnonzero(~np.isfinite(values) | ((values != np.floor(values)) & (form.unit not in (*UNITS, "ns"))))
        if len(broken):
            raise InputError(
                f"{positions.at(broken[0])}, column {name!r}: {values[broken[0]]} is neither a date nor a whole number: "
                'number the rows by whole steps, write dates in ISO 8601, or for Unix time write time_unit = "s"'
            )
        if form.unit in UNITS and form.format is None:
            return Times(np.rint(values * UNITS[form.unit]).astype(np.int64), "date", True)
        column = pa.chunked_array([pa.array(values.astype(np.int64))])
    if pa.types.is_integer(column.type):
        if form.format is None:
            return _from_numbers(column.to_numpy().astype(np.int64), form)
        column = column.cast(pa.string())
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        kind = ZONED if getattr(column.type, "tz", None) else PLAIN
        return Times(microseconds(column.cast(kind, safe=False)), "date", kind == ZONED)
    if pa.types.is_temporal(column.type) or pa.types.is_nested(column.type):
        raise InputError(
            f"{positions.file}, time column {name!r}: it holds {column.type}, not dates or numbers: name another"
        )
    texts = pc.utf8_trim_whitespace(as_text(column))
    if form.format is None and len(texts):
        whole = np.asarray(pc.match_substring_regex(texts, r"^[+-]?\d{1,19}$"))
        if whole.all():
            with contextlib.suppress(pa.ArrowInvalid):  # 19 digits may be too many
                return _from_numbers(texts.cast(pa.int64()).to_numpy().astype(np.int64), form)
        elif whole.mean() > 0.5 and form.unit not in UNITS:
            row = int(np.flatnonzero(~whole)[0])
            raise InputError(
                f"{positions.at(row)}, column {name!r}: {texts[row].as_py()!r} is not a whole number, as most times of the "
                "file are: correct it, or write all of them as dates"
            )
    if form.format is None and form.unit in UNITS:
        try:
            return Times(np.rint(texts.cast(pa.float64()).to_numpy() * UNITS[form.unit]).astype(np.int64), "date", True)
        except pa.ArrowInvalid:
            row = first_failure(texts, lambda some: some.cast(pa.float64()))
            raise InputError(
                f"{positions.at(row)}, column {name!r}: {texts[row].as_py()!r} is not a Unix time: correct it, or leave out "
                f'time_unit = "{form.unit}"'
            ) from None
    return _from_texts(positions, f"column {name!r}", texts, form)


def _from_numbers(values: Int64, form: TimeForm) -> Times:
    if form.unit in (None, AS_NUMBERS):
        return Times(values, "number")
    return Times(values // 1000 if form.unit == "ns" else values * UNITS[str(form.unit)], "date", True)


def _from_texts(positions: RowPositions, what: str, texts: pa.ChunkedArray, form: TimeForm) -> Times:
    time_format = form.format
    offsets = has_offset(texts) if time_format is None else np.array([format_is_zoned(time_format)])
    zoned = bool(offsets[0]) if len(offsets) else False

    def parse(some: pa.ChunkedArray) -> Int64:
        return parse_iso(some, zoned) if time_format is None else parse_format(some, time_format, form.zone)

    try:
        return Times(parse(texts), "date", zoned)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = first_failure(texts, parse)
        text = texts[row].as_py()
        wanted = time_format or (
            f'2016-07-01 13:00:00 (ISO 8601), or name its time_format, such as "{likely_format(text)}", {IN_RECIPE}'
        )
        if "zone offset" in str(error) and row:
            wanted = f"the rows before it are, {'with' if zoned else 'without'} a time zone"
        raise InputError(f"{positions.at(row)}, {what}: {text!r} is not a time: write it as {wanted}") from None


def _from_several(positions: RowPositions, names: Sequence[str], columns: list[Any], form: TimeForm) -> Times:
    """Read the parts of a date if all columns are whole numbers and no format is set; otherwise join the texts."""
    if pa.types.is_date(columns[0].type) and len(names) == 2 and pa.types.is_time(columns[1].type):
        days = microseconds(columns[0].cast(PLAIN))
        return Times(days + microseconds(columns[1].cast(pa.time64("us"), safe=False)), "date")
    texts = [pc.utf8_trim_whitespace(as_text(column)) for column in columns]
    whole = [bool(pc.all(pc.match_substring_regex(each, r"^[+-]?\d+(\.0*)?$")).as_py()) for each in texts]
    if form.format is None and (len(names) != 2 or all(whole) or whole[0]):
        return Times(from_parts(positions, names, columns), "date")
    if pa.types.is_timestamp(columns[0].type) or pa.types.is_date(columns[0].type):
        texts[0] = pc.utf8_slice_codeunits(texts[0], 0, 10)
    joined = pc.binary_join_element_wise(*texts, " ")
    return _from_texts(positions, f"columns {' and '.join(map(repr, names))}", joined, form)
