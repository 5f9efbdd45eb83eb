"""The facts of `inspect`, against pandas, and its tables, which fit the screen."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import invoke
from data_cases import noise, prepare_all, source_of, write_csv
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from small import write_small

from data.prepared.prepared import PreparedDataset
from data.samples.gaps import longest_run
from workflows.cli.inspection_tables import inspection
from workflows.prepare.inspection import Gap, WindowLengths, by_difference, inspect_dataset, inspect_datasets
from workflows.results.number_format import few_digits


def hourly(rows: int, seed: int = 0, gap: slice | None = None) -> pd.DataFrame:
    frame = noise(rows, "ab", seed).assign(time=pd.date_range("2020-01-01", periods=rows, freq="h").astype(str))
    if gap is not None:
        frame.loc[gap, "a"] = np.nan
    return frame


def prepared(folder: Path, frames: dict[str, pd.DataFrame], **changes: Any) -> list[PreparedDataset]:
    settings = {"features": ["a", "b"], "targets": ["b"], "time": "time", "frequency": "1h", **changes}
    return prepare_all(
        [source_of(write_csv(frame, folder / f"{name}.csv"), name=name, **settings) for name, frame in frames.items()],
        folder,
    )


def shown(datasets: list[PreparedDataset], width: int, order: str = "given") -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in inspection(inspect_datasets(datasets, order), width):
        console.print(part)
    return console.export_text()


@given(st.lists(st.booleans(), max_size=30))
def test_the_longest_run_is_that_of_a_loop(marks: list[bool]) -> None:
    runs = "".join("x" if mark else " " for mark in marks).split()
    assert longest_run(np.array(marks, bool)) == max(map(len, runs), default=0)


def test_the_facts_are_those_of_pandas(tmp_path: Path) -> None:
    frame = hourly(200, gap=slice(150, 157)).drop(index=[20, 21])
    about = inspect_dataset(prepared(tmp_path, {"x": frame})[0])
    assert about.rows == 200
    assert (about.first, about.last, about.frequency) == ("2020-01-01 00:00:00", "2020-01-09 07:00:00", "1h")
    assert about.missing_share == pytest.approx((8 + 2 * 2) / 400)
    assert about.longest_gap == Gap("a", 8)
    train = frame[frame.index < 120]
    for name in "ab":
        expected = {"mean": train[name].mean(), "deviation": train[name].std(ddof=0)}
        expected |= {"low": train[name].min(), "high": train[name].max()}
        assert asdict(about.columns[name]) == pytest.approx(expected, rel=1e-5)
    assert about.window == WindowLengths(3, 3, 3)
    assert about.samples["train"] == 120 - 3 - 2  # a missing target is not filled


def test_the_rows_behind_the_end_of_the_split_count_in_no_share(tmp_path: Path) -> None:
    dates = {"validation": "2020-01-04", "test": "2020-01-05", "end": "2020-01-06"}
    about = inspect_dataset(prepared(tmp_path, {"x": hourly(200, gap=slice(110, 130))}, split=dates)[0])
    assert about.last == "2020-01-05 23:00:00"
    assert about.missing_share == pytest.approx(10 / 240)
    assert about.longest_gap == Gap("a", 10)


def test_sequences_of_different_lengths_are_shown_with_their_windows_and_classes(tmp_path: Path) -> None:
    lengths = [3, 9, 4, 7, 5, 30, 6, 8, 3, 3]
    frame = pd.DataFrame({"a": np.arange(sum(lengths)) / 7, "k": np.repeat([f"s{n}" for n in range(10)], lengths)})
    frame["label"] = np.repeat(list("uvuvuuuuuv"), lengths)
    settings = {"lookback": "all", "horizon": 0, "series": "k", "split_by": "series", "split": [1.0, 0.0, 0.0]}
    settings |= {"targets": ["label"], "classes": True, "features": ["a"], "time": None, "frequency": None}
    datasets = prepared(tmp_path, {"x": frame, "y": frame[frame["k"] < "s8"]}, **settings)
    about = inspect_dataset(datasets[0])
    assert about.window == WindowLengths(3, float(np.median(lengths)), 30)
    assert about.classes == {"u": 7, "v": 3}
    assert about.first is None
    text = shown(datasets, 80)
    assert "3 v" in text
    assert "median window" in text


def test_facts_of_all_datasets_are_shown_once_and_tables_fit_80_and_160_letters(tmp_path: Path) -> None:
    datasets = prepared(tmp_path, {f"site_{k:02d}": hourly(150 + k, k) for k in range(12)})
    for width in (80, 160):
        text = shown(datasets, width)
        assert max(map(len, text.splitlines())) <= width
        assert "the same in all: series 1, from 2020-01-01 00:00" in text
        assert text.count("2020-01-01 00:00") == 1
        assert "…" not in text
        for k in range(12):
            assert f"site_{k:02d}" in text
    assert "nearest" in shown(datasets, 80)
    assert "nearest  " not in shown(datasets, 160)
    assert 'order = "suggested" at its top' in shown(datasets, 80)
    assert "trained in this order" in shown(datasets, 80, "suggested").replace("\n", " ")


def test_one_dataset_has_no_distances(tmp_path: Path) -> None:
    text = shown(prepared(tmp_path, {"x": hourly(100)}), 80)
    assert "Scales" in text
    assert "Distances" not in text


def test_the_columns_that_differ_the_most_come_first_and_the_others_are_named(tmp_path: Path) -> None:
    names = [chr(97 + k) for k in range(20)]
    shifts = {name: 10.0 * (name == "q") for name in names}
    frames = {}
    for k, dataset in enumerate("xyz"):
        random = np.random.default_rng(k)
        frames[dataset] = pd.DataFrame({n: random.normal(shifts[n] * k, 1 + 4 * k * (n == "m"), 200) for n in names})
    datasets = prepared(tmp_path, frames, features=names, time=None, frequency=None)
    inspection_of_all = inspect_datasets(datasets, "given")
    assert by_difference(inspection_of_all.datasets, names)[:2] == ["q", "m"]
    assert "and" in shown(datasets, 80)
    assert "differ less between the datasets" in shown(datasets, 80).replace("\n", " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1013.2, "1,013"), (123456.7, "123,457"), (1.234e7, "1.23e+07"), (-0.0012345, "-0.00123")],
)
def test_figures_are_short(value: float, text: str) -> None:
    assert few_digits(value) == text


@pytest.mark.parametrize(("target", "words"), [("", "this is a folder"), ("absent/about.json", "there is no folder")])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_read(target: str, words: str, tmp_path: Path) -> None:
    recipe = write_small(tmp_path)
    code, _, err = invoke("inspect", str(recipe), "--json", str(tmp_path / target), "--storage", str(tmp_path / "runs"))
    assert code == 2
    assert words in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.ray
def test_the_command_shows_and_writes_its_facts(ray_session: None, tmp_path: Path) -> None:
    recipe, file = write_small(tmp_path), tmp_path / "facts.json"
    code, out, err = invoke("inspect", str(recipe), "--storage", str(tmp_path / "runs"), "--json", str(file))
    assert (code, err) == (0, "")
    facts = json.loads(file.read_text())
    assert [each["name"] for each in facts["datasets"]] == ["anvil", "bellows", "crane"]
    assert sorted(facts["order"]["suggested"]) == ["anvil", "bellows", "crane"]
    assert np.shape(facts["distances"]) == (3, 3)
    for word in ("Rows", "Samples", "Scales", "Ranges", "Distances", "suggested order"):
        assert word in out
