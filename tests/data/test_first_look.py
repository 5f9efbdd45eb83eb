"""Errors in the first rows of a file are reported before any task is started."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest
from data_cases import noise, source_of, write_csv

from data.errors import InputError
from data.reading.file_format import FileFormat
from data.reading.read import read_rows
from data.sharding.extracts import extract
from data.sharding.first_look import FIRST_BYTES, FIRST_ROWS, first_problems, first_rows, series_cross_files


def long_frame(rows: int = 20_000) -> pd.DataFrame:
    return noise(rows, "ab").assign(t=pd.date_range("2020", periods=rows, freq="h").strftime("%d.%m.%Y %H:%M"))


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "feather"])
def test_a_wrong_time_format_is_reported_as_the_whole_file_reports_it(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"f.{suffix}"
    if suffix.startswith("csv"):
        write_csv(long_frame(), file)
    elif suffix == "feather":
        long_frame().to_feather(file)
    else:
        long_frame().to_parquet(file)
    source = source_of(file, time="t", time_format="%Y-%m-%d")
    with pytest.raises(InputError) as whole:
        read_rows(str(file), source)
    assert first_problems([source]) == whole.value.messages
    assert first_problems([source_of(file, time="t", time_format="%d.%m.%Y %H:%M")]) == []


def test_only_the_first_rows_are_read_and_cells_are_not_cut(tmp_path: Path) -> None:
    file = write_csv(long_frame(), tmp_path / "f.csv")
    head = first_rows(str(file), FileFormat())
    assert isinstance(head, bytes)
    assert file.read_bytes().startswith(head)
    assert len(head) <= FIRST_BYTES
    assert head.endswith(b"\n")
    long_frame().to_parquet(tmp_path / "f.parquet")
    table = first_rows(str(tmp_path / "f.parquet"), FileFormat())
    assert len(table) == FIRST_ROWS
    quoted = tmp_path / "quoted.csv"  # the first bytes end inside a cell of many lines
    quoted.write_bytes(b'a,note\n1,x\n2,y\n3,"' + b"line\n" * FIRST_BYTES + b'"\n4,z\n')
    assert first_rows(str(quoted), FileFormat()) == b"a,note\n1,x\n2,y\n"


def test_later_errors_are_left_to_the_reading_of_all_rows(tmp_path: Path) -> None:
    frame = long_frame().astype({"a": object})
    frame.loc[19_000, "a"] = "broken"
    source = source_of(write_csv(frame, tmp_path / "f.csv"))
    assert first_problems([source]) == []
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "f.csv").read_bytes()))
    assert first_problems([source_of(packed)]) == []
    packed.write_bytes(gzip.compress(b"a\nbroken\n" + b"1\n" * FIRST_BYTES))
    assert "broken" in first_problems([source_of(packed)])[0]


def test_a_message_about_an_extract_names_the_file_and_the_line_in_it(tmp_path: Path) -> None:
    file = str(tmp_path / "site=north" / "f.csv")

    def read() -> None:
        with extract(file, b"a\nx\n", FileFormat(), 1000) as path:
            assert path.endswith("site=north/f.csv")
            read_rows(path, source_of([path]))

    with pytest.raises(InputError, match=r"north/f\.csv, line 1002, column 'a'") as raised:
        read()
    assert "lstm-relay-" not in str(raised.value)


def test_files_by_time_are_recognised_by_their_first_rows(tmp_path: Path) -> None:
    frame = long_frame(300).assign(site=["x", "y", "z"] * 100)
    by_time = [write_csv(frame[start : start + 100], tmp_path / f"{start}.csv") for start in (0, 100, 200)]
    by_site = [write_csv(rows, tmp_path / f"{name}.csv") for name, rows in frame.groupby("site")]
    assert series_cross_files(source_of(by_time, series="site"))
    assert not series_cross_files(source_of(by_site, series="site"))
    assert not series_cross_files(source_of(by_time, series="{file}"))
