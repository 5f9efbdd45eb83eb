"""The same rows give the same samples in any kind of file."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_cases import in_process, noise, prepare_frame, prepare_one, samples_of, source_of, write_csv

from data.errors import InputError
from data.prepared.prepare import prepare
from data.prepared.prepared import PreparedDataset
from data.prepared.running import run_task
from data.reading.file_format import FileFormat, stem
from data.reading.files import FileNotes, absolute
from data.reading.find import find_files
from data.reading.read import distinct_values
from data.reading.table import read_table

SETTINGS = {"features": ["a", "b"], "targets": ["c"], "horizon": 1}


def content(prepared: PreparedDataset) -> list[bytes]:
    """Return the bytes of a dataset's rows and samples."""
    return [path.read_bytes() for path in sorted(prepared.folder.glob("*.arrow"))]


def test_csv_gz_parquet_and_another_delimiter_give_the_same(tmp_path: Path) -> None:
    frame = noise(50, "abc", gaps=0.1)
    plain = write_csv(frame, tmp_path / "f.csv")
    packed = tmp_path / "f2.CSV.GZ"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    windows = tmp_path / "f3.csv"
    windows.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"))
    frame.to_parquet(tmp_path / "f.parquet")
    frame.astype(np.float64).astype({"a": str}).to_parquet(tmp_path / "f64.parquet")
    expected = content(prepare_one(plain, tmp_path / "plain", **SETTINGS))
    assert len(expected) == 2
    for number, file in enumerate([packed, windows, tmp_path / "f.parquet", tmp_path / "f64.parquet"]):
        assert content(prepare_one(file, tmp_path / str(number), **SETTINGS)) == expected, file
    for number, delimiter in enumerate([";", "\t", "|"]):
        file = write_csv(frame, tmp_path / f"d{number}.csv", sep=delimiter)
        prepared = prepare_one(file, tmp_path / f"d{number}", **SETTINGS, delimiter=delimiter)
        assert content(prepared) == expected, delimiter


def test_whole_numbers_booleans_and_categories_of_parquet_are_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(20), "b": np.arange(20) % 2 == 0, "c": pd.Categorical(np.arange(20) % 3)})
    frame.to_parquet(tmp_path / "f.parquet")
    prepared = prepare_one(tmp_path / "f.parquet", tmp_path, **SETTINGS)
    np.testing.assert_array_equal(prepared.parts[0].values, frame.astype(float))


def test_usual_words_for_a_missing_value_are_missing(tmp_path: Path) -> None:
    marks = ["NA", "", "NaN", "nan", "N/A", "null", "NULL", "#N/A", "None"]
    rows = "\n".join(f"{mark},{row},1" for row, mark in enumerate(marks))
    (tmp_path / "f.csv").write_text(f"a,b,c\n1,1,1\n1,1,2\n{rows}\n" + "1,2,3\n" * 20)
    prepared = prepare_one(tmp_path / "f.csv", tmp_path, **SETTINGS)
    assert prepared.manifest.missing == {"a": len(marks), "b": 0, "c": 0}


def test_globs_find_files_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "deep/er/c.csv", "deep/a.parquet", ".hidden.csv", "._a.csv", ".git/x.csv", "ab.csv.gz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def names(pattern: str) -> list[str]:
        return [os.path.relpath(path, tmp_path) for path in find_files(f"{tmp_path}/{pattern}")]

    assert names("*.csv") == ["a.csv", "b.csv"]
    assert names("**/*.csv") == ["a.csv", "b.csv", "deep/er/c.csv"]
    assert names("**/*.parquet") == ["deep/a.parquet"]
    assert names("*/*/?.csv") == ["deep/er/c.csv"]
    assert names("[ab].csv") == ["a.csv", "b.csv"]
    assert names("[!a].csv") == ["b.csv"]
    assert names("a*") == ["a.csv", "ab.csv.gz"]
    assert names(".h*.csv") == [".hidden.csv"]
    assert names("a.csv") == ["a.csv"]


def test_a_file_with_brackets_in_its_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "f[1].csv").touch()
    assert find_files(f"{tmp_path}/f[1].csv") == [f"{tmp_path}/f[1].csv"]


def test_an_address_names_files_as_a_path_does(tmp_path: Path) -> None:
    frame = noise(50, "abc")
    write_csv(frame, tmp_path / "two words.csv")
    (address,) = find_files(f"file://{tmp_path}/two*.csv")
    assert address == f"file://{tmp_path}/two%20words.csv"
    assert find_files(address) == [address]
    assert stem(address) == "two words"
    assert content(prepare_one([address], tmp_path, **SETTINGS)) == content(
        prepare_frame(frame, tmp_path / "other", **SETTINGS)
    )


def test_paths_are_relative_to_their_root_and_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/her")
    assert absolute("x/../y.csv", tmp_path) == f"{tmp_path}/y.csv"
    assert absolute("~/y.csv", tmp_path) == "/home/her/y.csv"
    assert absolute("s3://bucket/y.csv", tmp_path) == "s3://bucket/y.csv"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/x/PRSA.v1.csv", "PRSA.v1"), ("/x/a.csv.gz", "a"), ("/x/A.CSV", "A"), ("s3://b/a.parquet?region=eu", "a")],
)
def test_the_stem_is_the_name_without_suffixes(path: str, expected: str) -> None:
    assert stem(path) == expected


def test_the_values_of_a_column_are_listed_once_in_the_order_of_their_appearance(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["z", "x", None, "x"], "n": [3, 1, 2, 3], "NA": ["NA", "null", "None", "NA"]})
    path = write_csv(frame, tmp_path / "f.csv")
    frame.to_parquet(tmp_path / "f.parquet")
    for file, location in ((path, "line 4"), (tmp_path / "f.parquet", "row 3")):
        assert distinct_values(str(file), "n", FileFormat()) == ["3", "1", "2"]
        assert distinct_values(str(file), "NA", FileFormat()) == ["NA", "null", "None"]
        with pytest.raises(InputError, match=f"{location}: the column 'a', which names datasets, is empty"):
            distinct_values(str(file), "a", FileFormat())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_datasets_of_one_file_have_the_rows_of_their_value_and_it_is_read_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = noise(90, "abc").assign(station=["x", "y", "10"] * 30)
    path = tmp_path / f"f.{kind}"
    frame.to_parquet(path) if kind == "parquet" else write_csv(frame, path)
    read = []

    def count(file: str, *rest: Any) -> pa.Table:
        read.append(file)
        return read_table(file, *rest)

    monkeypatch.setattr("data.prepared.shards.read_table", count)
    sources = [source_of(path, name=name, where={"station": name}, **SETTINGS) for name in ("x", "y", "10")]
    facts = FileNotes(tmp_path / "p" / "sources")
    prepared = prepare(sources, tmp_path / "p", facts, lambda tasks: [run_task(task) for task in tasks])
    assert len(read) == 1
    for dataset, name in zip(prepared, ("x", "y", "10"), strict=True):
        rows = frame[frame["station"] == name]
        assert content(dataset) == content(prepare_frame(rows, tmp_path / name, **SETTINGS))
    assert [d.name for d in prepared] == ["x", "y", "10"]


@pytest.mark.parametrize("frequency", ["1h", 1])
def test_a_file_without_a_row_of_the_value_takes_no_part(tmp_path: Path, frequency: str | int) -> None:
    times = pd.date_range("2020", periods=60, freq="h") if frequency == "1h" else np.arange(60)
    frame = noise(60, "abc").assign(time=times, station="x")
    other = frame.assign(station="y")
    files = [write_csv(other, tmp_path / "1.csv"), write_csv(frame, tmp_path / "2.csv")]
    settings = {**SETTINGS, "time": "time", "frequency": frequency, "where": {"station": "x"}}
    prepared = prepare_one(files, tmp_path, **settings)
    alone = prepare_one(files[1:], tmp_path / "alone", **settings)
    assert content(prepared) == content(alone)
    series = prepare_one(files, tmp_path / "series", **settings, series="station")
    assert series.manifest.num_series == 1
    np.testing.assert_array_equal(samples_of(series, "train").inputs, samples_of(alone, "train").inputs)
    with pytest.raises(InputError, match=r"1.csv, dataset 'd': no row has station = 'x'"):
        prepare_one(files[:1], tmp_path / "none", **settings)


def test_a_column_with_the_name_of_a_folder_is_that_of_the_file(tmp_path: Path) -> None:
    frame = noise(50, "abc")
    folder = tmp_path / "a=7"
    folder.mkdir()
    pq.write_table(pa.Table.from_pandas(frame), folder / "f.parquet")
    expected = content(prepare_frame(frame, tmp_path, **SETTINGS))
    assert content(prepare_one(folder / "f.parquet", tmp_path / "p", **SETTINGS)) == expected


def test_prepared_rows_are_mapped_not_copied(tmp_path: Path) -> None:
    values = prepare_frame(noise(50), tmp_path).parts[0].values
    assert not values.flags.owndata
    assert not values.flags.writeable
    assert in_process([]) == []
