"""The times after a series, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.reading.frequency import parse_frequency
from data.reading.times import Times
from data.samples.ahead import UNKNOWN, times_after

AHEAD = 5


def times_of(dates: pd.DatetimeIndex, zone: str | None = None) -> Times:
    return Times(dates.as_unit("us").asi8, "date", dates.tz is not None, zone)


@pytest.mark.parametrize(
    ("frequency", "dates"),
    [
        ("15min", pd.date_range("2024-02-28 22:30", periods=20 + AHEAD, freq="15min")),
        ("1d", pd.date_range("2024-02-20", periods=20 + AHEAD, freq="D")),
        ("1w", pd.date_range("2024-02-20", periods=20 + AHEAD, freq="7D")),
        ("1mo", pd.date_range("2023-01-01", periods=20 + AHEAD, freq="MS")),
        ("1mo", pd.date_range("2023-01-31", periods=20 + AHEAD, freq="ME")),
        ("1mo", pd.DatetimeIndex([pd.Timestamp("2022-01-30") + pd.DateOffset(months=n) for n in range(12 + AHEAD)])),
        ("1q", pd.date_range("2019-03-31", periods=20 + AHEAD, freq="QE")),
        (
            "1y",
            pd.date_range("2000-02-29", periods=1, freq="D")
            .append(pd.DatetimeIndex([f"{y}-02-28" for y in range(2001, 2004)]))
            .append(pd.DatetimeIndex(["2004-02-29", "2005-02-28", "2006-02-28", "2007-02-28", "2008-02-29"])),
        ),
        ("1b", pd.bdate_range("2024-05-02", periods=20 + AHEAD)),
    ],
)
def test_a_grid_continues_as_in_pandas(frequency: str, dates: pd.DatetimeIndex) -> None:
    ahead = times_after(times_of(dates[:-AHEAD]), parse_frequency(frequency), AHEAD)
    np.testing.assert_array_equal(ahead, times_of(dates[-AHEAD:]).value)


@pytest.mark.parametrize("frequency", ["1d", "1h"])
def test_days_follow_the_local_clock_over_the_change_of_time_and_hours_do_not(frequency: str) -> None:
    dates = pd.date_range("2024-03-29 00:00", periods=2 + AHEAD, freq={"1d": "D", "1h": "h"}[frequency], tz="Europe/Berlin")
    ahead = times_after(times_of(dates[:-AHEAD], "Europe/Berlin"), parse_frequency(frequency), AHEAD)
    np.testing.assert_array_equal(ahead, times_of(dates[-AHEAD:]).value)


def test_without_a_frequency_equal_steps_continue_and_irregular_ones_are_unknown() -> None:
    np.testing.assert_array_equal(times_after(Times(np.array([3, 5, 7]), "number"), None, 2), [9, 11])
    for irregular in ([3, 5, 8], [3]):
        np.testing.assert_array_equal(times_after(Times(np.array(irregular), "number"), None, 2), [UNKNOWN] * 2)
    np.testing.assert_array_equal(times_after(Times(np.array([3]), "number"), parse_frequency(4), 2), [7, 11])
