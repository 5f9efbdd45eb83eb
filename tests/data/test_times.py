"""The time of each row is read as pandas reads it, from whatever form it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_cases import prepare_frame, prepare_one, samples_of, source_of, write_csv

from data.errors import InputError
from data.prepared.prepared import PreparedDataset
from data.reading.read import read_rows
from data.reading.times import parse_time, show_time

HOURS = pd.date_range("2016-02-28 21:00", periods=60, freq="h")


def times_of(path: Path, **settings: Any) -> np.ndarray:
    times = read_rows(str(path), source_of(path, **settings)).times
    assert times is not None
    assert times.kind == "date"
    return times.value.astype("datetime64[us]")


def with_time(times: Any) -> pd.DataFrame:
    return pd.DataFrame({"t": times, "a": np.arange(len(times), dtype=float)})


@pytest.mark.parametrize(
    "text", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H", " %Y-%m-%d %H:%M:%S.%f ", "%Y-%m-%dT%H:%M:%SZ"]
)
def test_iso_text(tmp_path: Path, text: str) -> None:
    path = write_csv(with_time(HOURS.strftime(text)), tmp_path / "f.csv")
    np.testing.assert_array_equal(times_of(path, time="t"), HOURS)


def test_iso_text_with_a_zone_is_put_into_utc(tmp_path: Path) -> None:
    zoned = HOURS.tz_localize("Asia/Kolkata").map(lambda time: time.isoformat())
    path = write_csv(with_time(zoned), tmp_path / "f.csv")
    np.testing.assert_array_equal(times_of(path, time="t"), HOURS - pd.Timedelta("5h30min"))


@pytest.mark.parametrize("text", ["%d.%m.%Y %H:%M", "%m/%d/%y %I %p", "%Y%m%d%H", "%d %b %Y %H:%M:%S", "%Y-%m-%d %H:%M%z"])
def test_time_format(tmp_path: Path, text: str) -> None:
    path = write_csv(with_time(HOURS.tz_localize("UTC").strftime(text)), tmp_path / "f.csv")
    np.testing.assert_array_equal(times_of(path, time="t", time_format=text), HOURS)


def test_time_format_takes_numbers_without_zeros_before_them(tmp_path: Path) -> None:
    texts = [f"{time.day}.{time.month}.{time.year} {time.hour}:00" for time in HOURS]
    path = write_csv(with_time(texts), tmp_path / "f.csv")
    np.testing.assert_array_equal(times_of(path, time="t", time_format="%d.%m.%Y %H:%M"), HOURS)


@pytest.mark.parametrize("parts", [2, 3, 4, 5, 6])
def test_parts_of_a_date(tmp_path: Path, parts: int) -> None:
    unit = ["MS", "D", "h", "min", "s"][parts - 2]
    times = pd.date_range("2016-01-30", periods=90, freq=unit)
    names = ["year", "month", "day", "hour", "minute", "second"][:parts]
    frame = pd.DataFrame({name: getattr(times, name) for name in names}).assign(a=1.0)
    path = write_csv(frame, tmp_path / "f.csv")
    np.testing.assert_array_equal(times_of(path, time=names), times)
    frame.astype({"month": float}).to_parquet(tmp_path / "f.parquet")
    np.testing.assert_array_equal(times_of(tmp_path / "f.parquet", time=names), times_of(path, time=names))


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "Europe/Berlin"), pa.date32(), pa.date64()], ids=str
)
def test_times_of_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    days = pd.date_range("2016-02-27", periods=20, freq="D")
    table = pa.table({"t": pa.array(days.to_pydatetime(), pa.timestamp("us")).cast(kind), "a": np.arange(20.0)})
    pq.write_table(table, tmp_path / "f.parquet")
    np.testing.assert_array_equal(times_of(tmp_path / "f.parquet", time="t"), days)


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("values", [np.arange(-5, 20), np.arange(20) * 10.0])
def test_whole_numbers_count_steps(tmp_path: Path, as_text: bool, values: np.ndarray) -> None:
    frame = with_time(values)
    if as_text and values.dtype.kind == "f":
        frame["t"] = frame["t"].astype(int)
    path = tmp_path / ("f.csv" if as_text else "f.parquet")
    write_csv(frame, path) if as_text else frame.to_parquet(path)
    times = read_rows(str(path), source_of(path, time="t")).times
    assert times is not None
    assert times.kind == "number"
    np.testing.assert_array_equal(times.value, values)


def test_rows_are_put_in_the_order_of_time(tmp_path: Path) -> None:
    frame = with_time(HOURS)
    expected = prepare_frame(frame, tmp_path, time="t")
    shuffled = frame.sample(frac=1, random_state=0)
    np.testing.assert_array_equal(rows_of(prepare_frame(shuffled, tmp_path / "s", time="t")), rows_of(expected))
    parts = [shuffled[:20], shuffled[20:25], shuffled[25:]]
    files = [write_csv(part, tmp_path / f"{k}.csv") for k, part in enumerate(parts)]
    np.testing.assert_array_equal(rows_of(prepare_one(files, tmp_path, time="t")), rows_of(expected))


def test_rows_without_a_time_stay_in_the_order_of_their_files(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=60).astype(np.float32)})
    files = [write_csv(part, tmp_path / f"{k}.csv") for k, part in enumerate([frame[:20], frame[20:25], frame[25:]])]
    np.testing.assert_array_equal(rows_of(prepare_one(files, tmp_path))[:, 0], frame["a"])


@pytest.mark.parametrize("frequency", ["1h", "60min", "3600s"])
def test_frequency_inserts_absent_steps_as_missing(tmp_path: Path, frequency: str) -> None:
    frame = with_time(HOURS).drop(index=[7, 8, 9, 40])
    prepared = prepare_frame(frame, tmp_path, time="t", frequency=frequency, missing="mean", scaling="none")
    np.testing.assert_array_equal(rows_of(prepared)[:, 1], frame.set_index("t")["a"].asfreq("h"))
    assert prepared.manifest.missing == {"a": 4}
    assert prepared.manifest.warnings == []
    ends = samples_of(prepared, "train").targets[:, 0, 0]
    assert set(ends) == set(range(3, 36)) - {7, 8, 9}


def test_frequency_of_whole_numbers(tmp_path: Path) -> None:
    frame = with_time(np.delete(np.arange(100, 400, 5), [3, 4]))
    prepared = prepare_frame(frame, tmp_path, time="t", frequency=5)
    assert np.isnan(rows_of(prepared)[3:5, 1]).all()
    assert prepared.manifest.rows == 60


def test_irregular_steps_give_a_warning_and_are_kept(tmp_path: Path) -> None:
    frame = with_time(HOURS).drop(index=[7, 8])
    prepared = prepare_frame(frame, tmp_path, time="t")
    (warning,) = prepared.manifest.warnings
    assert "1 of 57 steps of time differ from the usual one, first before 2016-02-29 06:00:00" in warning
    assert prepared.manifest.rows == 58


def test_a_split_by_dates_begins_each_part_at_its_date(tmp_path: Path) -> None:
    frame = with_time(HOURS).iloc[::-1].assign(b=1.0)
    split = {"validation": "2016-02-29 12:00", "test": "2016-03-01T09:30+01:00", "end": "2016-03-02"}
    prepared = prepare_frame(frame, tmp_path, time="t", split=split, lookback=1, horizon=0, features=["a"], targets=["b"])
    assert prepared.manifest.samples == {"train": 15, "validation": 21, "test": 15}


def rows_of(prepared: PreparedDataset) -> np.ndarray:
    return prepared.parts[0].values


def test_a_time_is_shown_as_it_is_written() -> None:
    assert show_time(parse_time("2016-07-01T13:00Z"), "date") == "2016-07-01 13:00:00"
    assert show_time(parse_time("2016-07-01 13:00:00.5"), "date") == "2016-07-01 13:00:00.500000"
    assert parse_time("2016-07-01T13:00+02:00") == parse_time(" 2016-07-01 11:00:00 ")
    assert show_time(12, "number") == "12"
    with pytest.raises(ValueError, match="'July' is not a time: write it as 2016-07-01"):
        parse_time("July")


def test_a_day_that_a_format_moves_on_is_refused(tmp_path: Path) -> None:
    path = write_csv(with_time(["28.2.2016", "29.2.2016", "30.2.2016"]), tmp_path / "f.csv")
    with pytest.raises(InputError, match=r"line 4, column 't': '30\.2\.2016' is not a time: write it as %d.%m.%Y"):
        times_of(path, time="t", time_format="%d.%m.%Y")
