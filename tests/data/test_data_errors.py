"""An error in a file is reported with its position, the value and what to write; nothing is written."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import noise, prepare_all, source_of, write_csv

from data.errors import IN_RECIPE, InputError
from data.reading.find import find_files


def refused(folder: Path, files: Sequence[Path] | Path, **settings: Any) -> list[str]:
    """Return the messages of a failed preparation; check that the folder of prepared data is not made."""
    with pytest.raises(InputError) as raised:
        prepare_all([source_of(files, **settings)], folder)
    assert not (folder / "prepared").exists()
    return raised.value.messages


def refused_text(folder: Path, text: str | bytes, **settings: Any) -> str:
    """Return the single message about a CSV file with this content, without its path."""
    path = folder / "f.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (message,) = refused(folder, path, **settings)
    assert message.startswith(f"{path}"), message
    return message.removeprefix(f"{path}")


def lines(changes: dict[int, str], columns: str = "t,a", count: int = 40) -> str:
    """Return a CSV file with the columns t (0, 1, ...) and a, with some lines (from 1) replaced."""
    text = [columns, *(f"{row},{row % 7}" for row in range(count))]
    for line, other in changes.items():
        text[line - 1] = other
    return "\n".join(text) + "\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent.csv", r"absent.csv: there is no such file \(the folder {0} holds f.csv, f.xyz\)"),
        ("x/absent.csv", r"there is no such file \(nor is there a folder {0}/x with anything in it\)"),
        ("*.parquet", r"\*.parquet: no file matches \(the folder {0} holds f.csv, f.xyz\)"),
        ("empty", r"there is no CSV, Parquet or Arrow file in this folder \(the folder {0}/empty holds no file\)"),
        (
            "f*",
            r"f.xyz: its suffix does not say what it is: write a pattern for the data files alone, such as \*.csv",
        ),
        ("empty/*.csv", r"no file matches \(the folder {0}/empty holds no file\)"),
    ],
)
def test_paths_that_name_no_file_to_read(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "f.csv").touch()
    (tmp_path / "f.xyz").touch()
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    with pytest.raises(InputError, match=message.format(tmp_path)):
        find_files(f"{tmp_path}/{path}")


def test_an_address_of_no_known_filesystem() -> None:
    with pytest.raises(InputError, match=r"ftpx://host/f.csv: this address cannot be opened"):
        find_files("ftpx://host/f.csv")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    (message,) = refused(tmp_path, tmp_path / "gone.csv")
    assert message.startswith(f"{tmp_path}/gone.csv: it cannot be read")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": the file is empty: give it a header and rows, or leave it out of the path"),
        ("\n\n", ": the file is empty: give it a header and rows, or leave it out of the path"),
        ("t,a\n", ": the file has a header and no rows: give it rows, or leave it out of the path"),
        ("t,a", ": the file has a header and no rows: give it rows, or leave it out of the path"),
        ("t,x\n1,2\n", ": there is no column 'a': it has t, x"),
        ("t, A\n1,2\n", ": there is no column 'a': did you mean ' A'?"),
        ("t;a\n1;2\n", ': its columns seem to be separated by ";": write delimiter = ";" ' + IN_RECIPE),
        ("t\ta\n1\t2\n", ': its columns seem to be separated by "\\t": write delimiter = "\\t" ' + IN_RECIPE),
        ("t;a\n1,5;2\n", ': its columns seem to be separated by ";": write delimiter = ";" ' + IN_RECIPE),
        ("a,a\n1,2\n", ": the column 'a' appears twice: give each column its own name"),
        (
            "ü,b\n1,2\n".encode("latin-1"),
            ": there is no column 'a', and its header is not utf-8: write encoding = \"latin-1\", or what it is, "
            + IN_RECIPE,
        ),
    ],
)
def test_headers(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert refused_text(tmp_path, text) == message


def test_a_misspelt_column_names_the_nearest(tmp_path: Path) -> None:
    path = write_csv(noise(40).rename(columns={"a": "temperature"}), tmp_path / "f.csv")
    (message,) = refused(tmp_path, path, features=["temprature"], targets=["temperature"])
    assert message == f"{path}: there is no column 'temprature': did you mean 'temperature'?"


def test_a_comma_instead_of_the_delimiter_of_the_settings(tmp_path: Path) -> None:
    assert 'separated by ",": write delimiter = ","' in refused_text(tmp_path, lines({}), delimiter=";")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({20: "18"}, ", line 20: the row '18' has 1 values, the header 2 columns: correct the row, or quote"),
        ({20: "18,4,5"}, ", line 20: the row '18,4,5' has 3 values, the header 2 columns"),
        ({5: "", 9: "", 20: "18"}, ", line 20: the row '18' has 1 values"),
        ({20: "18,four"}, ", line 20, column 'a': 'four' is not a number: correct it, leave it empty where the value is"),
        ({5: "", 6: "", 20: "18,four"}, ", line 20, column 'a': 'four' is not a number"),
        ({9: '"3', 10: '4",5', 20: "18,1_000"}, ", line 20, column 'a': '1_000' is not a number"),
        ({20: "18,inf", 25: "18,1"}, ", line 20, column 'a': inf is infinite or too large"),
        ({20: "18,-Infinity"}, ", line 20, column 'a': -inf is infinite or too large"),
        (
            {20: "18,1e39"},
            ", line 20, column 'a': 1e+39 is infinite or too large (32-bit numbers end at 3.4e38)",
        ),
    ],
)
def test_cells_and_rows_are_named_by_their_line(tmp_path: Path, change: dict[int, str], message: str) -> None:
    assert refused_text(tmp_path, lines(change)).startswith(message)


def test_cells_of_rows_that_are_kept_are_named_by_their_line(tmp_path: Path) -> None:
    text = "\n".join(["s,a"] + [f"{'xy'[row % 2]},{'?' if row in (6, 9) else row}" for row in range(40)])
    message = refused_text(tmp_path, text, where={"s": "y"})
    assert message.startswith(", line 11, column 'a': '?' is not a number")


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({20: ",4"}, {}, ", line 20: the time column 't' is empty: every row needs its time"),
        (
            {20: "2020-01-01,4"},
            {},
            ", line 20, column 't': '2020-01-01' is not a whole number, as most times of the file are",
        ),
        ({20: "18.5,4"}, {}, ", line 20, column 't': '18.5' is not a whole number"),
        (
            {4: "2,3", 30: "2,3"},
            {},
            ", line 30, dataset 'd', series 'd': the time 2 is already in line 4: keep one row of each time, or",
        ),
        ({30: "28.5,3"}, {"time_format": "%d"}, ", line 2, column 't': '0' is not a time: write it as %d"),
    ],
)
def test_times(tmp_path: Path, change: dict[int, str], settings: dict[str, Any], message: str) -> None:
    assert refused_text(tmp_path, lines(change), time="t", **settings).startswith(message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "2020-02-30",
            "'2020-02-30' is not a time: write it as 2016-07-01 13:00:00 (ISO 8601), or name its time_format, such as "
            '"%d.%m.%Y %H:%M", in [data], or in this [[datasets]] entry',
        ),
        ("1.2.2020", "'1.2.2020' is not a time"),
        ("2020-01-01 25:00", "'2020-01-01 25:00' is not a time"),
        ("2020-03-01T00:00Z", "'2020-03-01T00:00Z' is not a time: write it as the rows before it are, without a time zone"),
    ],
)
def test_dates_are_named_by_their_line(tmp_path: Path, value: str, message: str) -> None:
    days = [str(day)[:10] for day in pd.date_range("2020", periods=40)]
    days[20] = value
    text = "t,a\n" + "\n".join(f"{day},1" for day in days)
    assert refused_text(tmp_path, text, time="t").startswith(f", line 22, column 't': {message}")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2019,2,29,1", "column 'd': 2019-02 has no day 29: correct it"),
        ("2019,13,1,1", "column 'm': 13 is not a month: the columns of time are read as year, month, day, hour"),
        ("2019,0,1,1", "column 'm': 0 is not a month"),
        ("2019,Feb,1,1", "column 'm': 'Feb' is not a whole number, as the parts of a time must be"),
        ("2019,,1,1", "the time column 'm' is empty"),
    ],
)
def test_parts_of_dates_are_named_by_their_line(tmp_path: Path, row: str, message: str) -> None:
    text = "y,m,d,a\n" + "".join(f"2020,1,{day},1\n" for day in range(1, 20)) + row
    text_after_path = refused_text(tmp_path, text, time=["y", "m", "d"])
    assert text_after_path.removeprefix(", line 21").lstrip(",: ").startswith(message)


def test_a_series_without_a_name(tmp_path: Path) -> None:
    message = refused_text(tmp_path, lines({20: ",4"}, "key,a"), series="key")
    assert message == ", line 20: the series column 'key' is empty: name the series"


def test_a_cell_that_is_not_utf8(tmp_path: Path) -> None:
    assert "a cell is not UTF-8" in refused_text(tmp_path, lines({20: "\xe9t\xe9,4"}).encode("latin-1"), series="t")


def test_a_damaged_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress(lines({}, count=9000).encode())[:-5000])
    assert refused(tmp_path, path)[0].startswith(f"{path}: it cannot be read")


def test_parquet_is_named_by_row_and_kind(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    path.write_text("a,b\n1,2\n")
    assert "it cannot be read as Parquet" in refused(tmp_path, path)[0]
    frame = noise(40).astype(float)
    frame.loc[7, "a"] = -1e300
    frame.assign(t=pd.to_timedelta(np.arange(40), "h"), n=np.nan).to_parquet(path)
    assert refused(tmp_path, path)[0].startswith(f"{path}, row 8, column 'a': -1e+300 is infinite or too large")
    (message,) = refused(tmp_path, path, features=["t"], targets=["t"])
    assert message == f"{path}, column 't': it holds duration[us], not numbers: name another column"
    noise(40).assign(t=pd.to_timedelta(np.arange(40), "h")).to_parquet(path)
    assert "time column 't': it holds duration[us]" in refused(tmp_path, path, time="t")[0]
    noise(40).assign(t=[*range(20), np.nan, *range(19)]).to_parquet(path)
    assert refused(tmp_path, path, time="t")[0].startswith(f"{path}, row 21: the time column 't' is empty")
    noise(40).assign(t=[*range(20), 20.5, *range(19)]).to_parquet(path)
    assert refused(tmp_path, path, time="t")[0].startswith(f"{path}, row 21, column 't': 20.5 is neither a date nor")


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    one = tmp_path / "one.csv"
    one.write_text("key,t,a,b\n" + "k,x,1,1\n" * 9 + ",x,?,inf\n")
    other = tmp_path / "other.csv"
    other.write_text("key,t,a,b\nk,2020-01-01,!,1\n")
    messages = refused(tmp_path, [one, other], features=["a", "b"], series="key", time="t")
    assert [message.removeprefix(f"{tmp_path}/").split(":")[0] for message in messages] == [
        "one.csv, line 11, column 'a'",
        "one.csv, line 11, column 'b'",
        "one.csv, line 11",
        "one.csv, line 2, column 't'",
        "other.csv, line 2, column 'a'",
    ]
    missing = refused(tmp_path, [one, other], features=["p", "q"])
    assert len(missing) == 4
