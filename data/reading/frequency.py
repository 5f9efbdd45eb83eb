"""The time step of a series: a duration, a count, or a calendar step."""

from __future__ import annotations

import re
from dataclasses import dataclass

MICROSECONDS = {
    "ms": 10**3,
    "s": 10**6,
    "min": 60 * 10**6,
    "h": 3600 * 10**6,
    "d": 86400 * 10**6,
    "w": 7 * 86400 * 10**6,
}
MONTHS = {"mo": 1, "q": 3, "y": 12}
BUSINESS_DAYS = "b"
LOCAL_UNITS = {"d", "w", BUSINESS_DAYS, *MONTHS}  # these follow local time where a zone is known
PANDAS = {
    **dict.fromkeys(("M", "MS", "ME", "BM", "BMS"), "mo"),
    **dict.fromkeys(("Q", "QS", "QE"), "q"),
    **dict.fromkeys(("A", "AS", "Y", "YS", "YE"), "y"),
    "B": "b",
    "D": "d",
    "W": "w",
    "H": "h",
    "T": "min",
    "S": "s",
    "L": "ms",
    "m": "min",
    "sec": "s",
    "hour": "h",
    "day": "d",
    "month": "mo",
    "year": "y",
    "quarter": "q",
    "week": "w",
    "minute": "min",
    "minutes": "min",
    "hours": "h",
    "days": "d",
}
LARGEST = 2**61  # microseconds or counts: no sum of two times is beyond 64 bits


@dataclass(frozen=True)
class Frequency:
    """`count` units; the unit is "" where times are whole numbers."""

    count: int
    unit: str

    @property
    def step(self) -> int | None:
        """Return the step in microseconds, or in counts; None where the calendar decides."""
        return None if self.unit in MONTHS or self.unit == BUSINESS_DAYS else self.count * MICROSECONDS.get(self.unit, 1)


def usual_season(frequency: Frequency | None) -> int | None:
    """Return the rows of the usual season of a frequency; None if it is not a whole number of rows.

    A day for steps below one day, a week for days, a year for weeks, months and quarters, five for business days, 1 for
    years.
    """
    if frequency is None or frequency.unit == "":
        return None
    if frequency.unit == BUSINESS_DAYS:
        whole, part = 5, frequency.count
    elif frequency.unit in MONTHS:
        whole, part = 12, frequency.count * MONTHS[frequency.unit]
        whole = max(whole, part)  # a year, or two, is one row
    else:
        part = frequency.count * MICROSECONDS[frequency.unit]
        day, week = MICROSECONDS["d"], MICROSECONDS["w"]
        whole = day if part < day else week if part < week else 52 * week
    return whole // part if whole % part == 0 else None


def parse_frequency(value: str | int) -> Frequency:
    """Parse a frequency; raises ValueError with what to write instead."""
    if isinstance(value, int):
        if not 0 < value < LARGEST:
            raise ValueError(f'frequency = {value} is not a step of time: write one like "15min", "1h", "1d" or 1')
        return Frequency(value, "")
    if value.isdecimal():
        raise ValueError(f'frequency = "{value}" has no unit: write "{value}min", or {value} where times are numbers')
    match = re.fullmatch(r"0*([1-9]\d{0,15}) ?(ms|s|min|h|d|w|mo|q|y|b)", value)
    if match and int(match[1]) * MICROSECONDS.get(match[2], 31 * 86400 * 10**6) < LARGEST:
        return Frequency(int(match[1]), match[2])
    alias = re.fullmatch(r"(\d*) ?([A-Za-z]+)(-[A-Z]+)?", value)
    if alias and alias[2] in PANDAS:
        raise ValueError(f'frequency = {value!r} is not known: write "{alias[1] or 1}{PANDAS[alias[2]]}"')
    raise ValueError(
        f'frequency = {value!r} is not a step of time: write one like "15min", "1h", "1d", "1w", "1mo", "1q", "1y", "1b" '
        "(business days), or a whole number"
    )
