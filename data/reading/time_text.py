"""Parse times: ISO 8601 or a strptime format; every function raises ArrowInvalid for a text that does not fit."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.reading.zones import offset_of

Int64 = npt.NDArray[np.int64]
PLAIN, ZONED = pa.timestamp("us"), pa.timestamp("us", "UTC")
ARROW_READS = set("YmdHMSyBbAaIpzjT%eDFR")  # the directives that Arrow's strptime reads as Python's does
OFFSET = r"\d{2}(:\d{2}|T\d{2}).*?(Z|[+-]\d{2}(:?\d{2})?)$|T\d{2}Z$"


def microseconds(column: pa.ChunkedArray) -> Int64:
    """Return timestamps as whole numbers."""
    return np.asarray(column.cast(pa.int64())).astype(np.int64)


def has_offset(texts: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return which ISO 8601 texts end with a time zone."""
    return np.asarray(pc.match_substring_regex(texts, OFFSET))


def parse_iso(texts: pa.ChunkedArray, zoned: bool) -> Int64:
    """Return microseconds since 1970, UTC if the texts are `zoned`: then all have an offset, otherwise none."""
    return microseconds(texts.cast(ZONED if zoned else PLAIN))


def format_is_zoned(time_format: str) -> bool:
    """Return whether times in a strptime format include their offset."""
    return bool({"%z", "%Z", "%s"} & set(_directives(time_format)))


def parse_format(texts: pa.ChunkedArray, time_format: str, zone: str | None) -> Int64:
    """Return microseconds since 1970 for a strptime format; UTC if the format includes an offset."""
    directives = _directives(time_format)
    if time_format == "%s":
        return np.asarray(texts.cast(pa.int64())).astype(np.int64) * 1_000_000
    if directives[-1:] == ["%f"] and time_format.endswith("%f") and "%f" not in directives[:-1] and "%Z" not in directives:
        mark = time_format[-3]
        if not mark.isalnum() and mark != "%":
            return _with_fraction(texts, time_format[:-3], mark, zone)
    if {each[1] for each in directives} <= ARROW_READS:
        return _by_arrow(texts, time_format)
    return _one_by_one(texts, lambda text: _by_python(text, time_format, zone))


def _directives(time_format: str) -> list[str]:
    return re.findall(r"%.", time_format)


def _by_arrow(texts: pa.ChunkedArray, time_format: str) -> Int64:
    times = pc.strptime(texts, format=time_format, unit="us")
    if "%z" not in time_format:  # strptime moves 31 April to 1 May
        again = pc.strftime(times.cast(pa.timestamp("s"), safe=False), format=time_format)
        odd = pc.not_equal(texts, again)
        if (
            pc.any(odd).as_py()
            and pc.any(pc.not_equal(_without_padding(texts.filter(odd)), _without_padding(again.filter(odd)))).as_py()
        ):
            raise pa.ArrowInvalid("there is no such day")
    return microseconds(times)


def _without_padding(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the text in lower case, without repeated blanks and leading zeros."""
    return pc.replace_substring_regex(pc.utf8_lower(texts), r"\s+|\b0+(\d)", r"\1")


def _with_fraction(texts: pa.ChunkedArray, rest: str, mark: str, zone: str | None) -> Int64:
    """Split off the fraction of a second, parse it as a number and add it."""
    pieces = pc.extract_regex(texts, rf"^(?P<rest>.*){re.escape(mark)}(?P<fraction>\d{{1,6}})$")
    if pieces.null_count > texts.null_count:
        raise pa.ArrowInvalid("there is no fraction of a second")
    flat = pieces.combine_chunks() if isinstance(pieces, pa.ChunkedArray) else pieces
    digits = pc.utf8_rpad(flat.field("fraction"), 6, "0")
    whole = parse_format(pa.chunked_array([flat.field("rest")]), rest, zone)
    microseconds_of_rows: Int64 = whole + np.asarray(digits.cast(pa.int64()))
    return microseconds_of_rows


def _one_by_one(texts: pa.ChunkedArray, parse: Callable[[str], int]) -> Int64:
    """Parse each distinct text once."""
    coded = texts.combine_chunks().dictionary_encode()
    values = np.array([parse(text) for text in coded.dictionary.to_pylist()], np.int64)
    indices: Int64 = np.asarray(coded.indices)
    return values[indices]


def _by_python(text: str, time_format: str, zone: str | None) -> int:
    try:
        if "%Z" in time_format:
            return _named_zone(text, time_format, zone)
        moment = datetime.datetime.strptime(text, time_format)
    except ValueError as error:
        raise pa.ArrowInvalid(str(error)) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return _since_1970(moment)


def _named_zone(text: str, time_format: str, zone: str | None) -> int:
    """Replace a zone name, which Python's %Z does not resolve, by its offset."""
    for name in reversed(re.findall(r"[A-Za-z][\w/+-]*", text)):
        try:
            local = datetime.datetime.strptime(text.replace(name, "UTC", 1), time_format)
        except ValueError:
            continue
        offset = offset_of(name, local.replace(tzinfo=None), zone)
        if offset is not None:
            return _since_1970(local.replace(tzinfo=datetime.UTC)) - int(offset / datetime.timedelta(microseconds=1))
    raise ValueError(f"{text!r} has no known time zone")


def _since_1970(moment: datetime.datetime) -> int:
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
