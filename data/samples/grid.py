"""Where the rows of a series lie on the regular grid of its frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.reading.frequency import BUSINESS_DAYS, LOCAL_UNITS, MONTHS, Frequency
from data.reading.times import Times
from data.reading.zones import to_utc

Int64 = npt.NDArray[np.int64]
TOLERANCE = 10  # a time may be off its grid by one of so many parts of a step
DAY = 86400 * 10**6


class OffGridError(Exception):
    """The row whose time is on no grid of the frequency, and why."""

    def __init__(self, row: int, reason: str):
        super().__init__(reason)
        self.row, self.reason = row, reason


@dataclass(frozen=True)
class Places:
    """The step of each row, counted from the first, which rise or stay; and the time of each step from 0 on."""

    step: Int64
    moved: npt.NDArray[np.bool_]  # rows whose time is not that of their step
    times: Int64


def place_on_grid(times: Times, frequency: Frequency, limit: int, ahead: int = 0) -> Places:
    """Return the places of sorted times; raises OffGridError. Above `limit` steps `times` has none of the steps.

    `times` goes on for `ahead` steps after the last row.
    """
    local = times.local if frequency.unit in LOCAL_UNITS else times.value
    zone = times.zone if times.zoned and frequency.unit in LOCAL_UNITS else None
    if frequency.unit in MONTHS:
        step, grid = _months(local, frequency.count * MONTHS[frequency.unit], limit, ahead)
    elif frequency.unit == BUSINESS_DAYS:
        step, grid = _business_days(local, frequency.count, limit, ahead)
    else:
        assert frequency.step is not None
        return _regular(times, local, frequency.step, zone, limit, ahead)
    grid = to_utc(grid, zone)
    if len(grid):
        grid[step] = times.value  # a month begins when its row says
    return Places(step, np.zeros(len(step), bool), grid)


def _regular(times: Times, local: Int64, size: int, zone: str | None, limit: int, ahead: int) -> Places:
    rest = (local - local[0]) % size
    origin = int(local[0])
    if rest.any():
        if times.kind == "number":
            row = int(np.flatnonzero(rest)[0])
            raise OffGridError(row, "")
        origin = _best_origin(local, size)
    step = (local - origin + size // 2) // size
    origin += int(step[0]) * size
    step -= step[0]
    off = np.abs(local - (origin + step * size))
    bad = np.flatnonzero(off > size // TOLERANCE) if rest.any() else np.empty(0, np.int64)
    if len(bad):
        near = np.abs((local - local[0] + size // 2) % size - size // 2)
        off_first = np.flatnonzero(near > size // TOLERANCE)
        raise OffGridError(int(off_first[0] if len(off_first) else bad[0]), "")
    length = int(step[-1]) + 1 + ahead
    grid = to_utc(origin + size * np.arange(length, dtype=np.int64), zone) if length <= limit else np.empty(0, np.int64)
    return Places(step, off > 0, grid)


def _best_origin(local: Int64, size: int) -> int:
    """Where the grid begins if times are off it: full hours, days and so on where all are near, else their middle."""
    first = int(local[0])
    near = (local - first + size // 2) % size - size // 2  # each time's distance from a grid through the first one
    middle = first + int(np.median(near))
    whole = (middle + size // 2) // size * size
    off = np.abs((local - whole + size // 2) % size - size // 2)
    if size <= DAY and int(off.max()) <= size // TOLERANCE:
        return whole
    exact, counts = np.unique(near, return_counts=True)
    return first + int(exact[counts.argmax()]) if counts.max() > len(near) // 2 else middle


def _months(local: Int64, size: int, limit: int, ahead: int) -> tuple[Int64, Int64]:
    moments = local.astype("datetime64[us]")
    months = moments.astype("datetime64[M]")
    gone = (months - months[0]).astype(np.int64)
    bad = np.flatnonzero(gone % size)
    if len(bad):
        raise OffGridError(int(bad[0]), f"{gone[bad[0]]} months after the first, which is no whole number of steps")
    step = gone // size
    length = int(step[-1]) + 1 + ahead
    if length > limit:
        return step, np.empty(0, np.int64)
    starts = months[0] + size * np.arange(length)
    days = (starts + 1).astype("datetime64[D]") - starts.astype("datetime64[D]")  # of each month
    offset = moments - months.astype("datetime64[us]")
    last_day = (months + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
    at_end = bool((moments.astype("datetime64[D]") == last_day).all())
    day = (
        days - np.timedelta64(1, "D")
        if at_end
        else np.minimum(offset[0].astype("timedelta64[D]"), days - np.timedelta64(1, "D"))
    )
    clock = offset[0] - offset[0].astype("timedelta64[D]")
    grid = starts.astype("datetime64[D]") + day + clock
    return step, grid.astype("datetime64[us]").astype(np.int64)


def _business_days(local: Int64, count: int, limit: int, ahead: int) -> tuple[Int64, Int64]:
    days = local.astype("datetime64[us]").astype("datetime64[D]")
    weekend = np.flatnonzero(~np.is_busday(days))
    if len(weekend):
        raise OffGridError(int(weekend[0]), "a Saturday or Sunday")
    gone = np.busday_count(days[0], days).astype(np.int64)
    bad = np.flatnonzero(gone % count)
    if len(bad):
        raise OffGridError(int(bad[0]), f"{gone[bad[0]]} business days after the first, which is no whole number of steps")
    step = gone // count
    length = int(step[-1]) + 1 + ahead
    if length > limit:
        return step, np.empty(0, np.int64)
    clock = int(local[0] - days[0].astype("datetime64[us]").astype(np.int64))
    grid = np.busday_offset(days[0], count * np.arange(length)).astype("datetime64[us]").astype(np.int64) + clock
    return step, grid
