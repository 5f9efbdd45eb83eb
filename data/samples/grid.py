"""Put the rows of a series on the regular grid of its frequency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.reading.frequency import BUSINESS_DAYS, LOCAL_UNITS, MONTHS, Frequency
from data.reading.times import Times
from data.reading.zones import to_local, to_utc

Int64 = npt.NDArray[np.int64]
Scan = Callable[[], Iterable[Int64]]  # yields all times of a series at each call; in any order, in arrays of any size
TOLERANCE = 10  # a time may be off its grid by up to 1 / TOLERANCE of a step
DAY = 86400 * 10**6
BINS = 1 << 16  # of the distances of times from a grid; the times of one bin are sorted exactly


class OffGridError(Exception):
    """The first time that is not on a grid of the frequency, and the reason."""

    def __init__(self, time: int, reason: str):
        super().__init__(reason)
        self.time, self.reason = time, reason


@dataclass(frozen=True)
class Grid:
    """The steps of a frequency through the times of one series.

    `zone`: the steps follow its clock. `first` is the local time of the first row, and `origin` that of step 0, which
    differs if the rows are only near a grid. `last_day`: all rows are on the last day of a month.
    """

    frequency: Frequency
    zone: str | None
    first: int
    origin: int
    last_day: bool = False

    @property
    def regular(self) -> bool:
        """Return whether all steps are equally long, by the local clock."""
        return self.frequency.step is not None

    def steps(self, value: Int64) -> Int64:
        """Return the step of each time, counted from that of the first row."""
        local = to_local(value, self.zone)
        if self.frequency.unit in MONTHS:
            return np.asarray((_months_of(local) - _months_of(_array(self.first))[0]) // self._count)
        if self.frequency.unit == BUSINESS_DAYS:
            return np.asarray(np.busday_count(_days_of(_array(self.first))[0], _days_of(local)), np.int64) // self._count
        return np.asarray((local - self.origin + self._count // 2) // self._count)

    def times(self, steps: Int64) -> Int64:
        """Return the times of some steps."""
        if self.frequency.unit in MONTHS:
            return to_utc(self._month_times(steps), self.zone)
        if self.frequency.unit == BUSINESS_DAYS:
            day = _days_of(_array(self.first))[0]
            clock = self.first - int(day.astype("datetime64[us]").astype(np.int64))
            days = np.busday_offset(day, self._count * steps).astype("datetime64[us]").astype(np.int64)
            return to_utc(days + clock, self.zone)
        return to_utc(self.origin + self._count * steps, self.zone)

    def is_moved(self, value: Int64, steps: Int64) -> npt.NDArray[np.bool_]:
        """Return which times differ from their steps; a month, or a business day, begins at the time of its row."""
        if not self.regular:
            return np.zeros(len(value), bool)
        return np.asarray(to_local(value, self.zone) != self.origin + self._count * steps)

    @property
    def _count(self) -> int:
        """Return the length of a step: in microseconds or counts, in months, or in business days."""
        return self.frequency.step or self.frequency.count * MONTHS.get(self.frequency.unit, 1)

    @property
    def longest_step(self) -> int:
        """Return an upper bound of the time between two steps, in microseconds or counts."""
        if self.frequency.unit in MONTHS:
            return (31 * self._count + 1) * DAY
        if self.frequency.unit == BUSINESS_DAYS:
            return (2 * self._count + 7) * DAY
        return self._count + (0 if self.zone is None else DAY)

    def _month_times(self, steps: Int64) -> Int64:
        moment = _array(self.first).astype("datetime64[us]")
        starts = moment.astype("datetime64[M]")[0] + self._count * steps
        days = (starts + 1).astype("datetime64[D]") - starts.astype("datetime64[D]")  # of each month
        offset = (moment - moment.astype("datetime64[M]").astype("datetime64[us]"))[0]
        last = days - np.timedelta64(1, "D")
        day = last if self.last_day else np.minimum(offset.astype("timedelta64[D]"), last)
        clock = offset - offset.astype("timedelta64[D]")
        times = starts.astype("datetime64[D]") + day + clock
        return np.asarray(times.astype("datetime64[us]").astype(np.int64))


def grid_times(grid: Grid, value: Int64, step: Int64, length: int) -> Int64:
    """Return the times of all steps of a series from the first to the last of its sorted times."""
    times = grid.times(np.arange(length, dtype=np.int64))
    if not grid.regular:
        times[step] = value  # a month begins at the time of its row
    return times


def grid_of(scan: Scan, like: Times, frequency: Frequency) -> Grid:
    """Return the grid of a series from all of its times, a bounded number in memory at once; raises OffGridError.

    `like` has the kind and zone of the times.
    """
    zone = like.zone if like.zoned and frequency.unit in LOCAL_UNITS else None
    start = min(int(value.min()) for value in scan() if len(value))
    first = int(to_local(_array(start), zone)[0])
    if frequency.unit in MONTHS:
        return _month_grid(scan, Grid(frequency, zone, first, first))
    if frequency.unit == BUSINESS_DAYS:
        return _business_grid(scan, Grid(frequency, zone, first, first))
    assert frequency.step is not None
    size, tolerance = frequency.step, frequency.step // TOLERANCE
    off = _first_time(scan, lambda value: (to_local(value, zone) - first) % size != 0)
    if off is None:
        return Grid(frequency, zone, first, first)
    if like.kind == "number":
        raise OffGridError(off, "")
    origin = first + _origin_after(
        lambda: (_distance_from_step(to_local(value, zone) - first, size) for value in scan()), first, size
    )
    origin += (first - origin + size // 2) // size * size
    bad = _first_time(scan, lambda value: np.abs(_distance_from_step(to_local(value, zone) - origin, size)) > tolerance)
    if bad is not None:
        far = _first_time(scan, lambda value: np.abs(_distance_from_step(to_local(value, zone) - first, size)) > tolerance)
        raise OffGridError(bad if far is None else far, "")
    return Grid(frequency, zone, first, origin)


def _origin_after(distances: Scan, first: int, size: int) -> int:
    """Return the origin of the grid, relative to the first time, if times are off the grid through the first time.

    `distances` are those of all times from that grid. The grid goes through full hours, days and so on if all times are
    near these, otherwise through the median.
    """
    middle = _median(distances, size)
    whole = (first + middle + size // 2) // size * size - first
    furthest = max(int(np.abs(_distance_from_step(each - whole, size)).max()) for each in distances() if len(each))
    return whole if size <= DAY and furthest <= size // TOLERANCE else middle


def _median(distances: Scan, size: int) -> int:
    """Return the median of numbers from -size // 2 on, below size - size // 2."""
    width = size // BINS + 1

    def bins_of(each: Int64) -> Int64:
        return (each + size // 2) // width

    counts = sum((np.bincount(bins_of(each), minlength=BINS + 1) for each in distances()), np.zeros(BINS + 1, np.int64))
    ends = np.cumsum(counts)
    ranks = [(int(ends[-1]) - 1) // 2, int(ends[-1]) // 2]
    values_at_ranks = []
    for rank in ranks:
        bin_index = int(np.searchsorted(ends, rank, side="right"))
        kept = [np.unique(each[bins_of(each) == bin_index], return_counts=True) for each in distances()]
        values = np.concatenate([each for each, _ in kept])
        order = np.argsort(values, kind="stable")
        below = np.cumsum(np.concatenate([each for _, each in kept])[order])
        rank -= int(ends[bin_index - 1]) if bin_index else 0
        values_at_ranks.append(int(values[order][np.searchsorted(below, rank, side="right")]))
    return int(np.mean(values_at_ranks))


def _month_grid(scan: Scan, grid: Grid) -> Grid:
    count, month = grid._count, _months_of(_array(grid.first))[0]

    def gone(value: Int64) -> Int64:
        return np.asarray(_months_of(to_local(value, grid.zone)) - month)

    bad = _first_time(scan, lambda value: gone(value) % count != 0)
    if bad is not None:
        months = gone(_array(bad))[0]
        raise OffGridError(bad, f"{months} months after the first, which is not a whole number of steps")
    other = _first_time(scan, lambda value: ~_is_last_day(to_local(value, grid.zone)))
    return Grid(grid.frequency, grid.zone, grid.first, grid.first, other is None)


def _is_last_day(local: Int64) -> npt.NDArray[np.bool_]:
    days = _days_of(local)
    return np.asarray((days + np.timedelta64(1, "D")).astype("datetime64[M]") != days.astype("datetime64[M]"))


def _business_grid(scan: Scan, grid: Grid) -> Grid:
    weekend = _first_time(scan, lambda value: ~np.is_busday(_days_of(to_local(value, grid.zone))))
    if weekend is not None:
        raise OffGridError(weekend, "a Saturday or Sunday")
    day = _days_of(_array(grid.first))[0]

    def gone(value: Int64) -> Int64:
        return np.asarray(np.busday_count(day, _days_of(to_local(value, grid.zone))), np.int64)

    bad = _first_time(scan, lambda value: gone(value) % grid._count != 0)
    if bad is not None:
        days = gone(_array(bad))[0]
        raise OffGridError(bad, f"{days} business days after the first, which is not a whole number of steps")
    return grid


def _first_time(scan: Scan, marks: Callable[[Int64], npt.NDArray[np.bool_]]) -> int | None:
    """Return the first time that is marked, or None."""

    def marked() -> Iterator[int]:
        for value in scan():
            times = value[marks(value)]
            if len(times):
                yield int(times.min())

    return min(marked(), default=None)


def _distance_from_step(distance: Int64, size: int) -> Int64:
    """Return the distance from the nearest step."""
    return np.asarray((distance + size // 2) % size - size // 2)


def _array(value: int) -> Int64:
    return np.array([value], np.int64)


def _months_of(local: Int64) -> Int64:
    return np.asarray(local.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64))


def _days_of(local: Int64) -> npt.NDArray[np.datetime64]:
    return np.asarray(local.astype("datetime64[us]").astype("datetime64[D]"))
