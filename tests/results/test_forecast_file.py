"""Forecasts of new files: reading, warnings, refusals and the written file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import invoke
from helpers import train_in_process
from sites import Opened, predict, train_sites

from data.errors import InputError
from workflows.recipe.recipe import check_recipe
from workflows.results import forecast_file

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return train_sites(tmp_path_factory.mktemp("sites"))


def test_warnings_name_series_without_a_window_and_unseen_labels(sites: Opened) -> None:
    store, run, folder = sites
    frame = pd.read_csv(folder / "a.csv")
    frame.loc[frame.index[-1], "mode"] = "turbo"
    pd.concat([frame[frame["pump"] == "a0"].head(2), frame[frame["pump"] == "a1"]]).to_csv(folder / "few.csv", index=False)
    done = forecast_file.predict_files(store, run, "a", str(folder / "few.csv"), str(folder / "few_out.csv"), False)
    assert (done.series, done.windows) == (1, 1)
    few, unseen = done.warnings
    assert "'a0'" in few
    assert "fewer rows than one window (min_lookback 3)" in few
    assert "'mode'" in unseen
    assert "'turbo'" in unseen


def test_all_kinds_of_output_hold_the_same(sites: Opened) -> None:
    store, run, folder = sites
    expected = predict(sites, "a", "a.csv")
    for name in ("out.parquet", "out.csv.gz"):
        forecast_file.predict_files(store, run, "a", str(folder / "a.csv"), str(folder / name), False)
    forecasts = pd.read_parquet(folder / "out.parquet")
    assert (forecasts["cutoff"].dtype.kind, forecasts["time"].dtype.kind) == ("M", "M")
    texts = forecasts.assign(cutoff=forecasts["cutoff"].astype(str), time=forecasts["time"].astype(str))
    pd.testing.assert_frame_equal(texts, expected, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "out.csv.gz"), expected)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_names_with_commas_and_quotes_come_back_as_they_were(sites: Opened) -> None:
    folder = sites[2]
    frame = pd.read_csv(folder / "a.csv").assign(pump='north, "old"').drop_duplicates("time")
    frame.to_csv(folder / "odd.csv", index=False)
    assert set(predict(sites, "a", "odd.csv")["series"]) == {'north, "old"'}


def test_a_series_may_have_its_rows_in_several_files(sites: Opened) -> None:
    folder = sites[2]
    frame = pd.read_csv(folder / "a.csv")
    for number, rows in enumerate((frame[:100], frame[100:300], frame[300:])):
        rows.to_csv(folder / f"piece_{number}.csv", index=False)
    pd.testing.assert_frame_equal(predict(sites, "a", "piece_*.csv"), predict(sites, "a", "a.csv"))


@pytest.mark.ray
def test_ray_data_reads_many_files_with_the_same_result(
    sites: Opened, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sites[2]
    for name, rows in pd.read_csv(folder / "b.csv").groupby("pump"):
        rows.to_csv(folder / f"one_{name}.csv", index=False)
    expected = predict(sites, "b", "one_*.csv", every=True)
    monkeypatch.setattr(forecast_file, "RAY_FROM_BYTES", 0)
    pd.testing.assert_frame_equal(predict(sites, "b", "one_*.csv", every=True), expected)


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"name": "sides"}, ["sides: no such run", "did you mean 'sites'?"]),
        ({"--dataset": "c"}, ["run 'sites' has no dataset 'c'", "write one of a, b"]),
        ({"--dataset": None, "--input": "short.csv"}, ["short.csv: neither a column nor its name says which dataset"]),
        ({"--probabilities": ""}, ["run 'sites' forecasts numbers", 'train with loss = "quantile"']),
        ({"--input": "none.csv"}, ["none.csv", "there is no such file"]),
        ({"--input": "lacking.csv"}, ["there is no column 'flow': did you mean 'Flow'?"]),
        ({"--input": "text.csv"}, ["text.csv, line 4, column 'flow': 'much' is not a number"]),
        ({"--input": "times.csv"}, ["'noon' is not a time: write the file with the format of times of the training"]),
        ({"--input": "marks.csv"}, ['separated by ";": write the file with the delimiter of the training files']),
        ({"--input": "short.csv"}, ["no series has the 3 rows of one window", "'a0', has 2"]),
        ({"--input": "rows.csv"}, ["rows.csv", "a header and no rows"]),
        ({"--input": "a.csv", "--output": "a.csv"}, ["this is one of the input files"]),
        ({"--output": "out.xlsx"}, ["out.xlsx: write a name that ends in one of .csv, .csv.gz, .parquet"]),
        ({"--output": "nowhere/out.csv"}, ["there is no folder", "nowhere"]),
    ],
)
def test_wrong_input_exits_with_2_and_nothing_written(sites: Opened, changes: dict[str, Any], messages: list[str]) -> None:
    folder = sites[2]
    frame = pd.read_csv(folder / "a.csv", dtype=str)
    frame.rename(columns={"flow": "Flow"}).to_csv(folder / "lacking.csv", index=False)
    frame.assign(flow=["1", "2", "much", *["3"] * (len(frame) - 3)]).to_csv(folder / "text.csv", index=False)
    frame.assign(time=[frame["time"][0], "noon", *frame["time"][2:]]).to_csv(folder / "times.csv", index=False)
    frame.to_csv(folder / "marks.csv", index=False, sep=";")
    frame.head(2).to_csv(folder / "short.csv", index=False)
    frame.head(0).to_csv(folder / "rows.csv", index=False)
    options = {"--dataset": "a", "--input": "a.csv", "--output": "never.csv"} | changes
    name = options.pop("name", "sites")
    words = [
        word for key, value in options.items() if value is not None for word in (key, _inside(folder, key, value)) if word
    ]
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    code, out, err = invoke("predict", name, *words, "--storage", str(folder / "runs"))
    assert code == 2
    for message in messages:
        assert message in err
    assert "Traceback" not in out + err
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def _inside(folder: Path, key: str, value: str) -> str:
    return value if key in ("--dataset", "--probabilities") else str(folder / value)


def test_the_command_prints_what_it_wrote(sites: Opened) -> None:
    folder = sites[2]
    words = ["--dataset", "a", "--input", str(folder / "a.csv"), "--output", str(folder / "said.csv")]
    code, out, err = invoke("predict", "sites", *words, "--storage", str(folder / "runs"))
    assert (code, err) == (0, "")
    assert f"2 forecasts of 3 steps for 2 series, 6 rows in {folder / 'said.csv'}" in out


def test_without_a_time_it_is_the_row_number_and_a_target_named_like_an_output_column_is_renamed(tmp_path: Path) -> None:
    frame = pd.DataFrame({"site": ["n", "s"] * 60, "step": RANDOM.normal(size=120)})
    frame.to_csv(tmp_path / "both.csv", index=False)
    document = {
        "data": {"features": ["step"], "targets": ["step"], "lookback": 5, "horizon": 2},
        "datasets": [{"name": "{site}", "path": "both.csv"}],
        "model": {"hidden_size": 2},
        "training": {"epochs": 1},
        "compute": {"num_workers": 0},
    }
    opened = *train_in_process(check_recipe(document, tmp_path), tmp_path / "runs"), tmp_path
    forecasts = predict(opened, "n", "both.csv")
    assert list(forecasts.columns) == ["series", "cutoff", "step", "time", "step_forecast"]
    keys = ["series", "cutoff", "step", "time"]
    assert [list(forecasts[name]) for name in keys] == [["n", "n"], [59, 59], [1, 2], [60, 61]]
    # A file without the column that distinguishes the datasets has the rows of one dataset.
    frame[frame["site"] == "n"][["step"]].to_csv(tmp_path / "one.csv", index=False)
    pd.testing.assert_frame_equal(predict(opened, "n", "one.csv"), forecasts)
    frame[frame["site"] == "s"].to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(InputError, match="no row has site = 'n'"):
        predict(opened, "n", "other.csv")


def test_times_with_a_zone_are_refused_where_none_was_trained_on_and_half_seconds_stay(sites: Opened) -> None:
    folder = sites[2]
    frame = pd.read_csv(folder / "a.csv", parse_dates=["time"])
    frame = frame[frame["pump"] == "a0"]
    frame.assign(time=frame["time"].astype(str) + ".500000").to_csv(folder / "half.csv", index=False)
    assert set(predict(sites, "a", "half.csv")["cutoff"]) == {"2024-03-10 23:00:00.500000"}
    frame.assign(time=frame["time"].astype(str) + "+02:00").to_csv(folder / "zone.csv", index=False)
    with pytest.raises(InputError, match=r"zone.csv: its times are zoned dates, those of the training files"):
        predict(sites, "a", "zone.csv")
