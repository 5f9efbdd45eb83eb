"""Times from separate columns: year, month, day, hour, minute, second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import InputError
from data.reading.table import RowPositions, first_failure

Int64 = npt.NDArray[np.int64]
PART_RANGES = [("month", 1, 12), ("day", 1, 31), ("hour", 0, 23), ("minute", 0, 59), ("second", 0, 59)]


def from_parts(positions: RowPositions, names: Sequence[str], columns: list[pa.ChunkedArray]) -> Int64:
    """Return microseconds since 1970 from the columns year, month, day, hour, minute and second, or the first of these."""
    parts = []
    for name, column in zip(names, columns, strict=True):
        if pa.types.is_string(column.type):
            column = pc.utf8_trim_whitespace(column)
        try:
            parts.append(np.asarray(column.cast(pa.int64())).astype(np.int64))
        except pa.ArrowInvalid:
            row = first_failure(column, lambda some: some.cast(pa.int64()))
            raise InputError(
                f"{positions.at(row)}, column {name!r}: {column[row].as_py()!r} is not a whole number, as the parts of a "
                "time must be: correct it, or name one time column"
            ) from None
    for part, name, (what, low, high) in zip(parts[1:], names[1:], PART_RANGES, strict=False):
        off = np.flatnonzero((part < low) | (part > high))
        if len(off):
            raise InputError(
                f"{positions.at(off[0])}, column {name!r}: {part[off[0]]} is not a {what}: the columns of time are read as "
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
                f"{positions.at(off[0])}, column {names[2]!r}: {months[off[0]]} has no day {parts[2][off[0]]}: correct it"
            )
    microseconds: Int64 = days.astype("datetime64[us]").astype(np.int64)
    for part, size in zip(parts[3:], (3600, 60, 1), strict=False):
        microseconds = microseconds + part * size * 1_000_000
    return microseconds
