"""Guess how times are written, for the advice in messages."""

from __future__ import annotations

import datetime

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


def likely_format(text: str) -> str:
    """Return the strptime format that probably fits a text."""
    dates = (
        *(
            "%d.%m.%Y",
            "%d/%m/%Y",
            "%m/%d/%Y",
            "%Y/%m/%d",
            "%d-%m-%Y",
            "%Y%m%d",
            "%Y.%m.%d",
            "%d.%m.%y",
            "%d %b %Y",
            "%b %d %Y",
        ),
        *("%Y-%m", "%Y%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%y", "%Y-%m-%d", "%d/%m/%y", "%m/%d/%y"),
    )
    times = ("", " %H:%M", " %H:%M:%S", " %H.%M.%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f", " %H%M", " %H")
    for time_format in (f"{date}{time}" for date in dates for time in times):
        try:
            datetime.datetime.strptime(text, time_format)
        except ValueError:
            continue
        return time_format
    return "%d.%m.%Y %H:%M"


def date_like(values: Int64) -> str | None:
    """Return the setting to write for whole numbers that look like dates or Unix time; None for others."""
    if len(values) < 3:
        return None
    low, high = int(values.min()), int(values.max())
    if low >= 19000101 and high <= 21001231 and _months_fit(values // 100 % 100) and bool((values % 100 <= 31).all()):
        return 'time_format = "%Y%m%d"' if bool((values % 100 >= 1).all()) else None
    if low >= 190001 and high <= 210012 and _months_fit(values % 100):
        return 'time_format = "%Y%m"'
    for unit, size in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        if 500_000_000 * size <= low and high < 4_200_000_000 * size:
            return f'time_unit = "{unit}"'
    return None


def _months_fit(months: Int64) -> bool:
    return bool(((months >= 1) & (months <= 12)).all())


def usual_calendar(value: Int64) -> str | None:
    """Return the calendar step that sorted times seem to have: "1mo", "1q", "1y" or "1b"; None if none fits."""
    steps, day = np.diff(value), 86400 * 10**6
    if len(steps) < 6 or int(steps.max()) < day:
        return None
    ranges = {"1mo": (28, 31), "1q": (90, 92), "1y": (365, 366)}
    for name, (low, high) in ranges.items():
        if np.mean((steps >= low * day) & (steps <= high * day)) > 0.9 and len(np.unique(steps)) > 1:
            return name
    ones, threes = np.mean(steps == day), np.mean(steps == 3 * day)
    return "1b" if ones > 0.7 and 0.1 < threes < 0.25 else None
