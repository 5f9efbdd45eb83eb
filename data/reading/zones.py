"""Convert between local times and UTC."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64 = npt.NDArray[np.int64]


def zone_problem(zone: str) -> str | None:
    """Return the problem of a time zone's name, or None."""
    try:
        zoneinfo.ZoneInfo(zone)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        return f'time_zone = {zone!r} is not known: write an IANA name, as "Europe/Berlin", "America/New_York" or "UTC"'
    return None


def to_local(value: Int64, zone: str | None) -> Int64:
    """Return local times (microseconds) for microseconds of UTC; unchanged without a zone."""
    if zone is None:
        return value
    local = pc.local_timestamp(pa.array(value, pa.timestamp("us", "UTC")).cast(pa.timestamp("us", zone)))
    return np.asarray(local.cast(pa.int64())).astype(np.int64)


def to_utc(value: Int64, zone: str | None, ambiguous: str = "earliest", nonexistent: str = "earliest") -> Int64:
    """Return UTC for local times; `ambiguous` chooses the first or second of a repeated hour."""
    if zone is None:
        return value
    naive = pa.array(value, pa.timestamp("us"))
    zoned = pc.assume_timezone(naive, zone, ambiguous=ambiguous, nonexistent=nonexistent)
    return np.asarray(zoned.cast(pa.int64())).astype(np.int64)


def skipped_rows(value: Int64, zone: str) -> npt.NDArray[np.intp]:
    """Return the rows with a local time that does not exist (clocks skip an hour in spring)."""
    return np.flatnonzero(to_local(to_utc(value, zone), zone) != value)


@dataclass(frozen=True)
class Clock:
    """The repeated hours in the other tables of a file, needed to resolve those of one table.

    `falling`: the file has its newest rows first. `seen` are the repeated local times, by series, in tables that are
    earlier in time.
    """

    falling: bool
    seen: Mapping[str | None, Int64]


@dataclass(frozen=True)
class ClockSummary:
    """The order of rows in one table of a file, and its repeated local times by series."""

    rises: int
    falls: int
    first: int
    last: int
    repeated: Mapping[str | None, Int64]


def clock_summary(value: Int64, zone: str, keys: npt.NDArray[np.object_] | None) -> ClockSummary | None:
    """Return the summary of a table's local times; None without rows."""
    if not len(value):
        return None
    steps = np.diff(value)
    twice = np.flatnonzero(to_utc(value, zone, "earliest") != to_utc(value, zone, "latest"))
    names = dict.fromkeys([None] if keys is None else keys[twice])
    repeated = {name: np.unique(value[twice if keys is None else twice[keys[twice] == name]]) for name in names}
    rises, falls = int(np.count_nonzero(steps > 0)), int(np.count_nonzero(steps < 0))
    return ClockSummary(rises, falls, int(value[0]), int(value[-1]), repeated)


def clocks_of(tables: Sequence[ClockSummary | None]) -> list[Clock]:
    """Return the clock of each table of a file, in row order."""
    summaries = [each for each in tables if each is not None]
    borders = [later.first - earlier.last for earlier, later in pairwise(summaries)]
    rises = sum(each.rises for each in summaries) + sum(step > 0 for step in borders)
    falls = sum(each.falls for each in summaries) + sum(step < 0 for step in borders)
    falling, seen = falls > rises, dict[str | None, Int64]()
    clocks = []
    for each in tables[::-1] if falling else tables:
        repeated = {} if each is None else each.repeated
        clocks.append(Clock(falling, {name: seen[name] for name in repeated if name in seen}))
        seen |= {name: np.union1d(seen.get(name, times[:0]), times) for name, times in repeated.items()}
    return clocks[::-1] if falling else clocks


def to_utc_in_order(value: Int64, zone: str, keys: npt.NDArray[np.object_] | None, clock: Clock | None = None) -> Int64:
    """Return UTC for local times; repeated hours in autumn are resolved by the order of the rows.

    If a series (`keys` names each row's) has a repeated local time twice, the row that is first in time order is the
    earlier one. `value` may fall (newest first). A repeated time that appears once is taken as the earlier one. `clock`
    describes the other tables of the file, where these times are only some of its times.
    """
    first, second = to_utc(value, zone, "earliest"), to_utc(value, zone, "latest")
    twice = np.flatnonzero(first != second)
    if not len(twice):
        return first
    falling = bool(np.count_nonzero(np.diff(value) < 0) > np.count_nonzero(np.diff(value) > 0))
    seen: set[tuple[object, int]] = set()
    if clock is not None:
        falling = clock.falling
        seen = {(name, int(time)) for name, times in clock.seen.items() for time in times}
    for row in twice[::-1] if falling else twice:
        key = (None if keys is None else keys[row], int(value[row]))
        if key in seen:
            first[row] = second[row]
        seen.add(key)
    return first


def offset_of(name: str, local: datetime.datetime, zone: str | None) -> datetime.timedelta | None:
    """Return the UTC offset of a zone name or abbreviation at a local time; None if unknown.

    An abbreviation such as CEST is understood if `zone` uses it at that time, or if it is an IANA name.
    """
    if name.upper() in ("UTC", "GMT", "Z"):
        return datetime.timedelta()
    if zone is not None:
        for fold in (0, 1):
            zoned = local.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold)
            if zoned.tzname() == name:
                return zoned.utcoffset()
    try:
        return local.replace(tzinfo=zoneinfo.ZoneInfo(name)).utcoffset()
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        return None
