"""A dataset that cannot be trained on with its settings is refused with what to write instead; nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import noise, prepare_all, prepare_one, settings_of, source_of, write_csv
from pydantic import ValidationError

from data.errors import InputError


def timed(rows: int = 40, **columns: Any) -> pd.DataFrame:
    return noise(rows, "ab").assign(t=pd.date_range("2020", periods=rows, freq="h"), n=np.arange(rows), **columns)


def refused(frame: pd.DataFrame, folder: Path, **settings: Any) -> str:
    """Return the single message of a failed preparation; check that the folder of prepared data is not made."""
    path = write_csv(frame, folder / "f.csv")
    with pytest.raises(InputError) as raised:
        prepare_all([source_of(path, **settings)], folder)
    assert not (folder / "prepared").exists()
    (message,) = raised.value.messages
    assert str(path) in message
    assert "'d'" in message
    return message


def test_a_feature_without_a_value_in_train(tmp_path: Path) -> None:
    message = refused(timed(b=[np.nan] * 24 + [1.0] * 16), tmp_path, features=["a", "b"])
    assert "the column has no value everywhere in the train rows, 'b': name another, or train on more rows" in message


def test_a_target_without_a_value_in_train(tmp_path: Path) -> None:
    message = refused(timed(b=[np.nan] * 24 + [1.0] * 16), tmp_path, targets=["b"])
    assert "the target is missing everywhere in the train rows, 'b'" in message
    message = refused(timed(b=[None] * 24 + ["x"] * 16), tmp_path, targets=["b"], classes=True, horizon=0)
    assert "leaves no sample in the train part" in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": [0.9, 0.0, 0.1], "horizon": 5}, "split = [0.9, 0.0, 0.1] leaves no sample in the test part (lookback 3"),
        ({"split": [0.94, 0.03, 0.03], "horizon": 2}, "leaves no sample in the validation part"),
        ({"split": [0.05, 0.5, 0.45]}, "leaves no sample in the train part"),
        (
            {"time": "t", "split": {"validation": "2019-01-01", "test": "2020-01-02"}},
            "leaves no sample in the train part",
        ),
        (
            {"time": "t", "split": {"validation": "2020-01-02", "test": "2022-01-01"}},
            "split = {'validation': '2020-01-02', 'test': '2022-01-01'} leaves no sample in the test part",
        ),
        ({"series": "n", "lookback": 1, "horizon": 0, "targets": ["b"], "split_by": "series", "split": [1, 0, 0]}, None),
        (
            {
                "series": "b",
                "lookback": "all",
                "horizon": 0,
                "targets": ["n"],
                "split_by": "series",
                "split": [0.99, 0.01, 0],
            },
            "leaves no sample in the validation part (lookback all, horizon 0",
        ),
    ],
    ids=str,
)
def test_a_split_that_leaves_a_part_without_a_sample(tmp_path: Path, settings: dict[str, Any], message: str | None) -> None:
    if message is None:
        prepare_all([source_of(write_csv(timed(), tmp_path / "f.csv"), **settings)], tmp_path)
    else:
        assert message in refused(timed(), tmp_path, **settings)


def test_gaps_that_leave_a_part_without_a_sample(tmp_path: Path) -> None:
    message = refused(timed(a=[1.0, np.nan] * 20), tmp_path, missing="drop")
    assert "leaves no sample in the train part (lookback 3, horizon 1, missing 'drop')" in message


def test_series_that_are_all_shorter_than_a_window(tmp_path: Path) -> None:
    message = refused(
        timed(key=[f"k{row // 10}" for row in range(40)]), tmp_path, series="key", lookback=12, min_lookback=9, horizon=2
    )
    assert "no series is as long as one sample (min_lookback 9 + horizon 2 = 11 rows)" in message
    assert message.endswith("has 10: write a shorter lookback, min_lookback or horizon")


def test_more_than_32_categories_over_all_files(tmp_path: Path) -> None:
    message = refused(timed(80, c=[f"c{row}" for row in range(80)]), tmp_path, categorical=["c"])
    assert "column 'c': its train rows have 48 categories, at most 32 can become columns" in message
    files = []
    for key in range(2):
        frame = timed(key=key, c=[f"{key}-{row % 20}" for row in range(40)])
        files.append(write_csv(frame, tmp_path / f"{key}.csv"))
    with pytest.raises(InputError, match=r"column 'c': its train rows have 40 categories"):
        prepare_all([source_of(files, series="key", categorical=["c"])], tmp_path)


@pytest.mark.parametrize("series", [None, "key"])
def test_files_with_different_kinds_of_times(tmp_path: Path, series: str | None) -> None:
    files = [write_csv(timed(key="x"), tmp_path / "1.csv")]
    files.append(write_csv(timed(key="y").assign(t=np.arange(40)), tmp_path / "2.csv"))
    with pytest.raises(InputError, match=r"2.csv: its times are numbers, those of .*1.csv are dates: write the same kind"):
        prepare_all([source_of(files, time="t", series=series)], tmp_path)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"time": "t", "frequency": "7min"},
            "series 'd': the time 2020-01-01 01:00:00 is not a whole number of steps of 7min",
        ),
        ({"time": "n", "frequency": 2}, "the time 1 is not a whole number of steps of 2 after 0: correct it, or leave"),
        ({"time": "t", "frequency": 1}, "frequency = 1 does not fit its times, which are dates such as 2020-01-01 00:00:00"),
        (
            {"time": "n", "frequency": "1h"},
            "frequency = '1h' does not fit its times, which are numbers such as 0: write one",
        ),
        ({"time": "t", "frequency": "1ms"}, "on a grid of 1ms its 40 rows would become 140400001: check frequency"),
    ],
)
def test_times_that_are_not_on_the_grid(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    assert message in refused(timed(), tmp_path, **settings)


def test_dates_where_times_are_numbers(tmp_path: Path) -> None:
    split = {"validation": "2020-01-02", "test": "2020-01-03"}
    message = refused(timed(), tmp_path, time="n", split=split)
    assert "split has dates, but its times are numbers such as 0: write split as fractions" in message
    message = refused(timed(), tmp_path, time="n", calendar=["hour"])
    assert "calendar needs dates in the time column, which holds numbers: leave calendar out" in message


def test_the_same_time_twice_in_one_series(tmp_path: Path) -> None:
    frame = pd.concat([timed(), timed()]).assign(key="k")
    message = refused(frame, tmp_path, time="t", series="key")
    assert ", line 42, dataset 'd', series 'k': the time 2020-01-01 00:00:00 is already in line 2: keep one row" in message
    assert "with their names in series" not in message


def test_the_same_time_twice_is_named_by_its_lines_and_in_utc_where_it_has_a_zone(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": [f"2024-01-09T{hour:02d}:10:00+01:00" for hour in (20, 21, 22, 21)], "a": range(4)})
    frame = pd.concat([frame.assign(key="other").iloc[:3], frame.assign(key="k")])
    message = refused(frame, tmp_path, time="t", series="key")
    assert ", line 8, dataset 'd', series 'k': the time 2024-01-09 20:10:00 UTC is already in line 6" in message


def test_the_same_time_in_two_files_is_named_by_both(tmp_path: Path) -> None:
    files = [write_csv(timed().assign(a=1), tmp_path / name) for name in ("f.csv", "g.csv")]
    with pytest.raises(InputError, match=r"g.csv, line 2, .* is already in .*f.csv, line 2"):
        prepare_one(files, tmp_path, time="t")


def test_the_problems_of_all_datasets_are_reported_at_once(tmp_path: Path) -> None:
    path = write_csv(timed(), tmp_path / "f.csv")
    wrong = [{"split": [0.05, 0.5, 0.45]}, {"time": "t", "frequency": "7min"}, {"lookback": 100}]
    sources = [source_of(path, name=f"d{number}", **settings) for number, settings in enumerate([*wrong, {}])]
    with pytest.raises(InputError) as raised:
        prepare_all(sources, tmp_path)
    assert [name for name in ("d0", "d1", "d2", "d3") for message in raised.value.messages if f"{name!r}" in message] == [
        "d0",
        "d1",
        "d2",
    ]


DATES = {"validation": "2020-01-02", "test": "2020-01-03"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lookback": "all"}, 'needs horizon = 0, got 1; .* needs split_by = "series"'),
        ({"min_lookback": 4}, "min_lookback = 4 is more than lookback = 3"),
        ({"frequency": "1x", "time": "t"}, "frequency = '1x' is not a step of time: write one like \"15min\""),
        ({"frequency": 0, "time": "t"}, "frequency = 0 is not a step of time"),
        ({"frequency": -1, "time": "t"}, "frequency = -1 is not a step of time"),
        ({"frequency": "0h", "time": "t"}, "frequency = '0h' is not a step of time"),
        ({"frequency": "60", "time": "t"}, 'frequency = "60" has no unit: write "60min", or 60 where times are numbers'),
        ({"frequency": "1h"}, "frequency needs a time column"),
        ({"calendar": ["hour"]}, "calendar needs a time column"),
        ({"time": []}, r"time = \[\] must be one column, or the columns year, month"),
        ({"time": list("abcdefg")}, "must be one column, or the columns year, month, day, hour, minute, second"),
        ({"split": DATES}, "split by dates needs a time column"),
        ({"split": {**DATES, "test": "2020-01-02"}, "time": "t"}, "split.test = 2020-01-02 is not after split.validation"),
        ({"split": {**DATES, "end": "2019"}, "time": "t"}, "split.end: '2019' is not a time: write it as 2016-07-01"),
        ({"split": {"validation": "3.1.2020"}, "time": "t"}, "split.validation: '3.1.2020' is not a time"),
        ({"split": {"validation": "2020-02-30"}, "time": "t"}, "split.validation: '2020-02-30' is not a time"),
        ({"split": DATES, "time": "t", "split_by": "series", "series": "s"}, "split by dates cuts in time"),
        ({"split": [0.5, 0.5]}, "must be three fractions"),
        ({"split": [0.0, 0.5, 0.5]}, "train above 0"),
        ({"split": [0.5, 0.2, 0.2]}, "that sum to 1"),
        ({"split_by": "series"}, "needs series: name the column"),
        ({"series": ""}, "series is empty"),
        ({"features": ["a", "a"]}, "features names 'a' twice"),
        ({"features": ["a", "b"], "categorical": ["b"]}, "'b' is in features and in categorical"),
        ({"horizon": 0}, "'a' is in features and in targets with horizon = 0: the answer would be in the input"),
        ({"horizon": 0, "targets": ["c"], "categorical": ["c"]}, "'c' is in categorical and in targets with horizon = 0"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings_of(**settings)


def test_dates_may_be_dates_of_toml() -> None:
    import datetime

    split = {"validation": datetime.date(2020, 1, 2), "test": datetime.datetime(2020, 1, 3, tzinfo=datetime.UTC)}
    dates = settings_of(time="t", split=split).split
    assert not isinstance(dates, list)
    assert (dates.validation, dates.test) == ("2020-01-02", "2020-01-03T00:00:00+00:00")
