"""Files as people have them: the result is that of pandas, or an error with what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import prepare_all, write_csv

from data.errors import InputError
from data.prepared.prepared import PreparedDataset
from data.reading.files import FileNotes
from workflows.recipe.datasets import find_datasets
from workflows.recipe.recipe import check_recipe

DATA = {"time": "ts", "features": ["y"], "targets": ["y"], "lookback": 4, "horizon": 1}
RANDOM = np.random.default_rng(0)


def prepared(folder: Path, path: str | list[str] = "*.csv", name: str = "a", **data: Any) -> dict[str, PreparedDataset]:
    """Prepare the datasets of a recipe with one entry in a folder; return them by name."""
    settings = {key: value for key, value in {**DATA, **data}.items() if value is not None}
    recipe = check_recipe({"name": "x", "data": settings, "datasets": [{"name": name, "path": path}]}, folder)
    sources, _ = find_datasets(recipe, FileNotes(folder / "facts"), folder)
    return {each.name: each for each in prepare_all(sources, folder / "out")}


def refused(folder: Path, path: str | list[str] = "*.csv", name: str = "a", **data: Any) -> str:
    with pytest.raises(InputError) as raised:
        prepared(folder, path, name, **data)
    return "\n".join(raised.value.messages)


def hours(count: int = 60, start: str = "2024-01-01", **columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"ts": pd.date_range(start, periods=count, freq="h"), "y": RANDOM.normal(size=count).round(3)})
    return frame.assign(**columns)


def values(dataset: PreparedDataset, column: int = 0) -> np.ndarray:
    return np.concatenate([part.values for part in dataset.parts])[:, column]


@pytest.mark.parametrize("word", ["NA", "null", "nan", "None", "N/A", "#N/A", ""])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_words_for_missing_are_for_numbers_alone(tmp_path: Path, word: str, kind: str) -> None:  # cases 01 and 01b
    frame = pd.concat([hours(region=name, y=range(60)) for name in ("EU", word, "US")])
    frame = frame if word else frame.replace({"region": {"": None}})
    path = tmp_path / f"a.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    location = "a.csv, line 62" if kind == "csv" else "a.parquet, row 61"
    if not word:
        assert f"{location}: the column 'region', which names datasets, is empty" in refused(tmp_path, path.name, "{region}")
        assert f"{location}: the series column 'region' is empty" in refused(tmp_path, path.name, series="region")
        return
    datasets = prepared(tmp_path, path.name, "{region}")
    assert {name: each.manifest.rows for name, each in datasets.items()} == {"EU": 60, word.replace("/", "_"): 60, "US": 60}
    assert prepared(tmp_path, path.name, series="region")["a"].manifest.num_series == 3
    categories = prepared(tmp_path, path.name, "{region}", categorical=["region"])[word.replace("/", "_")]
    assert categories.train_categories("region") == [word]


def test_files_without_a_time_are_separate_series_in_natural_order(tmp_path: Path) -> None:  # case 02
    for number in range(1, 13):
        pd.DataFrame({"y": 1000 * number + np.arange(30 + number)}).to_csv(tmp_path / f"part{number}.csv", index=False)
    dataset = prepared(tmp_path, "part*.csv", time=None)["a"]
    windows = [max(int(np.floor((30 + number) * 0.7 + 1e-9)) - 4, 0) for number in range(1, 13)]
    assert dataset.manifest.samples["train"] == sum(windows)
    assert dataset.manifest.num_series == 12
    assert list(dict.fromkeys(values(dataset) // 1000)) == list(range(1, 13))
    (warning,) = [text for text in dataset.manifest.warnings if "without a time column" in text]
    assert "12 files without a time column: each file is one series, in the order part1, part2, part3" in warning


def test_series_of_files_without_a_time_do_not_continue_in_the_next_file(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        frame = pd.DataFrame({"k": ["x", "y"] * 20, "y": 100 * number + np.arange(40)})
        frame.to_csv(tmp_path / f"f{number}.csv", index=False)
    dataset = prepared(tmp_path, series="k", time=None, split=[1, 0, 0], scaling="none")["a"]
    assert dataset.manifest.num_series == 6
    assert dataset.manifest.samples["train"] == 6 * (20 - 4)


def test_whole_numbers_that_are_dates(tmp_path: Path) -> None:  # case 03
    days = pd.date_range("2024-01-01", periods=120, freq="D")
    frame = pd.DataFrame({"ts": days.strftime("%Y%m%d").astype(int), "y": RANDOM.normal(size=120)})
    write_csv(frame, tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "a.parquet")
    for path in ("a.csv", "a.parquet"):
        for frequency in ("1d", 1):
            assert 'time_format = "%Y%m%d"' in refused(tmp_path, path, frequency=frequency)
        dataset = prepared(tmp_path, path, time_format="%Y%m%d", frequency="1d", calendar=["weekday"])["a"]
        assert (dataset.manifest.rows, dataset.manifest.counts.rows_inserted) == (120, 0)
        assert dataset.manifest.time_span == ("2024-01-01 00:00:00", "2024-04-29 00:00:00")
        assert 'time_format = "%Y%m%d"' in " ".join(prepared(tmp_path, path)["a"].manifest.warnings)
        assert prepared(tmp_path, path, time_unit="step", frequency=1, min_lookback=1)["a"].manifest.rows == 329


@pytest.mark.parametrize(("unit", "size"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_unix_time(tmp_path: Path, unit: str, size: int) -> None:  # case 03c
    frame = hours(80).assign(ts=lambda rows: rows["ts"].astype("datetime64[s]").astype(int) * size)
    write_csv(frame, tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "a.parquet")
    for path in ("a.csv", "a.parquet"):
        assert f'time_unit = "{unit}"' in refused(tmp_path, path, frequency="1h")
        assert f'time_unit = "{unit}"' in " ".join(prepared(tmp_path, path)["a"].manifest.warnings)
        dataset = prepared(tmp_path, path, time_unit=unit, frequency="1h", calendar=["hour"], time_zone="Asia/Tokyo")["a"]
        assert dataset.manifest.time_span == ("2024-01-01 09:00:00", "2024-01-04 16:00:00")
        expected = np.sin(2 * np.pi * ((np.arange(80) + 9) % 24) / 24)
        np.testing.assert_allclose(values(dataset, 1), expected, atol=1e-6)
    if unit == "s":
        assert prepared(tmp_path, "a.csv", time_format="%s", frequency="1h")["a"].manifest.rows == 80


def test_times_with_and_without_a_zone_are_not_mixed(tmp_path: Path) -> None:  # case 04
    whole = hours(200, "2024-06-01")
    write_csv(whole[:103], tmp_path / "a1.csv")
    zoned = whole[103:].assign(ts=whole["ts"][103:].dt.tz_localize("Europe/Berlin").map(lambda time: time.isoformat()))
    write_csv(zoned, tmp_path / "a2.csv")
    for series in (None, "{file}"):
        message = refused(tmp_path, frequency="1h", series=series)
        assert "a1.csv: its times have no time zone, those of" in message
        assert 'write time_zone = "Europe/Berlin"' in message
    dataset = prepared(tmp_path, frequency="1h", time_zone="Europe/Berlin", calendar=["hour"])["a"]
    assert (dataset.manifest.rows, dataset.manifest.counts.rows_inserted) == (200, 0)
    np.testing.assert_array_equal(values(dataset), whole["y"].astype(np.float32))
    np.testing.assert_allclose(values(dataset, 1), np.sin(2 * np.pi * whole["ts"].dt.hour / 24), atol=1e-6)


CALENDAR = {"1mo": "MS", "1q": "QS", "1y": "YS", "1b": "B"}


@pytest.mark.parametrize("frequency", CALENDAR)
def test_steps_of_the_calendar(tmp_path: Path, frequency: str) -> None:  # case 06
    times = pd.date_range("1950-01-02" if frequency == "1b" else "1950-01-01", periods=120, freq=CALENDAR[frequency])
    frame = pd.DataFrame({"ts": times, "y": RANDOM.normal(size=120).astype(np.float32)})
    write_csv(frame.drop(index=[7, 8, 60]), tmp_path / "a.csv")
    dataset = prepared(tmp_path, frequency=frequency, missing="forward")["a"]
    expected = frame["y"].where(~frame.index.isin([7, 8, 60]))
    np.testing.assert_array_equal(values(dataset), expected.ffill())
    counts = dataset.manifest.counts
    assert (counts.rows_read, counts.rows_inserted, counts.rows_used, counts.cells_filled) == (117, 3, 117, 3)
    assert dataset.manifest.time_span == (str(times[0]), str(times[-1]))


def test_months_end_where_months_end(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-31", periods=60, freq="ME")
    write_csv(pd.DataFrame({"ts": times, "y": np.arange(60)}), tmp_path / "a.csv")
    assert prepared(tmp_path, frequency="1mo")["a"].manifest.counts.rows_inserted == 0
    months = pd.DataFrame({"ts": pd.date_range("2010-01-01", periods=120, freq="MS"), "y": np.arange(120.0)})
    write_csv(months, tmp_path / "a.csv")
    for alias in ("MS", "M", "1ME"):
        assert 'write "1mo"' in refused_settings(tmp_path, frequency=alias)
    assert 'they look like "1mo"' in refused(tmp_path, frequency="30d")
    inserted = prepared(tmp_path, frequency="1d")["a"].manifest
    assert inserted.counts.rows_inserted == inserted.rows - 120 == len(pd.date_range("2010-01-01", "2019-12-01")) - 120
    assert f"{inserted.rows - 120:,} of {inserted.rows:,} rows were inserted by frequency = '1d'" in inserted.warnings[0]


def refused_settings(folder: Path, **data: Any) -> str:
    with pytest.raises(InputError) as raised:
        check_recipe({"data": {**DATA, **data}, "datasets": [{"name": "a", "path": "a.csv"}]}, folder)
    return "\n".join(raised.value.messages)


def test_a_row_on_a_saturday_is_no_business_day(tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"ts": pd.date_range("2024-01-01", periods=40), "y": 1.0}), tmp_path / "a.csv")
    assert "the time 2024-01-06 00:00:00 is not a whole number of steps of 1b after" in refused(tmp_path, frequency="1b")


def test_a_file_of_one_row_is_to_be_left_out(tmp_path: Path) -> None:  # item 12
    for name, rows in (("long", 60), ("one", 1)):
        write_csv(hours(rows), tmp_path / f"{name}.csv")
    message = refused(tmp_path, "*.csv", "{file}")
    assert "one.csv, dataset 'one': it has 1 row, and a sample has at least 2: give it more rows, or leave it out" in message


@pytest.mark.parametrize(("mark", "warned"), [(-9999, True), (-1, False)])
def test_a_number_that_may_mean_missing_gives_a_warning(tmp_path: Path, mark: int, warned: bool) -> None:  # case 12
    frame = hours(100)
    frame.loc[::9, "y"] = mark
    write_csv(frame, tmp_path / "a.csv")
    warnings = prepared(tmp_path)["a"].manifest.warnings
    assert any(f"write missing_values = [{mark}] if that means missing" in text for text in warnings) == warned
    again = prepared(tmp_path, missing_values=[mark])["a"].manifest.warnings
    assert not any("if that means missing" in text for text in again)
