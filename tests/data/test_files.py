"""Downloaded files in all forms: delimiters, decimal marks, headers, encodings, folders; checked against pandas."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.feather as feather
import pytest
from data_cases import write_csv
from test_cases import DATA, hours, prepared, refused, values

from data.errors import InputError
from data.reading.file_format import FileFormat
from data.reading.find import find_files
from data.reading.table import read_table
from workflows.recipe.checks import errors_of


def test_a_line_break_in_a_cell_of_the_header(tmp_path: Path) -> None:  # case 10
    frame = hours(80).rename(columns={"y": "Temp\n(C)"}).assign(y=np.arange(80.0), **{"a;\r\nb": 1})
    write_csv(frame, tmp_path / "a.csv")
    np.testing.assert_array_equal(values(prepared(tmp_path)["a"]), frame["y"])
    dataset = prepared(tmp_path, features=["Temp\n(C)"], targets=["y"])["a"]
    np.testing.assert_array_equal(values(dataset), frame["Temp\n(C)"].astype(np.float32))


def test_line_breaks_in_cells_of_a_file_of_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # 21
    monkeypatch.setattr("data.reading.csv_file.BLOCK_BYTES", 4096)
    count = 4000
    rows = "".join(f'{row},"ab\ncd\n",{row % 977}\n' for row in range(count))
    (tmp_path / "a.csv").write_text("ts,note,y\n" + rows)
    np.testing.assert_array_equal(values(prepared(tmp_path, frequency=1)["a"]), np.arange(count) % 977)
    (tmp_path / "a.csv").write_text("ts,note,y\n" + rows + "1,2\n")
    assert f"a.csv, line {3 * count + 2}: the row '1,2' has 2 values, the header 3 columns" in refused(tmp_path)


@pytest.mark.long
def test_line_breaks_in_cells_of_a_file_of_21_megabytes(tmp_path: Path) -> None:  # case 21 itself
    with (tmp_path / "a.csv").open("w") as file:
        file.write("ts,note,y\n")
        file.writelines(f'{row},"ab\ncd\n",{np.sin(row / 50):.4f}\n' for row in range(900_000))
    assert prepared(tmp_path)["a"].manifest.counts.rows_read == 900_000


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_words_and_numbers_that_mean_missing(tmp_path: Path, kind: str) -> None:  # case 12
    frame = hours(100)
    gone = np.random.default_rng(1).random(100) < 0.15
    text = frame["y"].astype(str)
    text[gone] = np.random.default_rng(2).choice(["?", "-9999", "-200", "-200.0", " ", "NA"], gone.sum())
    table = frame.assign(y=text if kind == "csv" else np.where(gone, -9999.0, frame["y"]))
    path = tmp_path / f"a.{kind}"
    write_csv(table, path) if kind == "csv" else table.to_parquet(path)
    if kind == "csv":
        assert "write missing_values = ['?'] if it means that" in refused(tmp_path, path.name)
    dataset = prepared(tmp_path, path.name, missing_values=["?", -200, "-9999"], split=[1, 0, 0])["a"]
    expected = frame["y"].astype(np.float32).where(~gone)
    assert dataset.manifest.missing == {"y": int(gone.sum())}
    np.testing.assert_allclose(dataset.statistics.mean, [expected.mean()] * 2, rtol=1e-6)
    np.testing.assert_allclose(dataset.statistics.deviation, [expected.std(ddof=0)] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("decimal", "thousands", "sep"),
    [(",", ".", ";"), (",", None, ";"), (".", ",", ";"), (",", " ", "\t"), (".", "'", ","), (",", None, ",")],
)
def test_decimal_marks_and_thousands(tmp_path: Path, decimal: str, thousands: str | None, sep: str) -> None:
    frame = hours(60).assign(y=(np.random.default_rng(0).normal(size=60) * 10 ** np.linspace(-2, 7, 60)).round(2))
    written = [f"{value:,.2f}" if thousands else f"{value:.2f}" for value in frame["y"]]
    marks = str.maketrans({",": thousands or "", ".": decimal})
    write_csv(frame.assign(y=[text.translate(marks) for text in written]), tmp_path / "a.csv", sep=sep, quoting=2)
    dataset = prepared(tmp_path, decimal=decimal, thousands=thousands, delimiter=sep)["a"]
    np.testing.assert_array_equal(values(dataset).astype(np.float32), frame["y"].astype(np.float32))


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("5,035.0", 'write thousands = ","'),
        ("1,5", 'write decimal = ","'),
        ("1.234.567,8", 'write decimal = "," and thousands = "."'),
        ("12 kW", "leave the unit out of the cell"),
        ("?", "write missing_values = ['?'] if it means that, or name the column in categorical"),
    ],
)
def test_the_advice_on_a_cell_that_is_no_number(tmp_path: Path, text: str, advice: str) -> None:
    write_csv(hours(60).astype({"y": object}).assign(y=lambda rows: [text, *rows["y"][1:]]), tmp_path / "a.csv")
    message = refused(tmp_path)
    assert f"a.csv, line 2, column 'y': '{text}' is not a number" in message
    assert advice in message


def test_a_mark_that_does_not_fit_is_not_dropped(tmp_path: Path) -> None:
    for text, settings in (("1.5", {"decimal": ","}), ("1,23", {"thousands": ","}), ("12,3456", {"thousands": ","})):
        write_csv(hours(60).astype({"y": object}).assign(y=text), tmp_path / "a.csv")
        assert f"'{text}' is not a number" in refused(tmp_path, **settings)


def test_the_turbofan_files_as_nasa_ships_them(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"unit": np.repeat([1, 2, 3], 40), "cycle": np.tile(np.arange(1, 41), 3), "s1": random.normal(size=120).round(4)}
    )
    text = "".join(f"{unit} {cycle}  {s1:.4f}  \n" for unit, cycle, s1 in frame.itertuples(index=False))
    (tmp_path / "train_FD001.txt").write_text(text)
    settings = {"time": "cycle", "series": "unit", "features": ["s1"], "targets": ["s1"]}
    assert 'write delimiter = "whitespace"' in refused(tmp_path, "train_FD001.txt", **settings)
    settings |= {"delimiter": "whitespace", "column_names": ["unit", "cycle", "s1"]}
    dataset = prepared(tmp_path, "*.txt", **settings)["a"]
    assert (dataset.manifest.num_series, dataset.manifest.counts.rows_read) == (3, 120)
    np.testing.assert_array_equal(values(dataset), frame["s1"].astype(np.float32))
    (tmp_path / "train_FD001.txt").write_text(text.replace("2 7 ", "2 x ", 1))
    assert "train_FD001.txt, line 47, column 'cycle': 'x' is not a whole number" in refused(tmp_path, "*.txt", **settings)
    (tmp_path / "train_FD001.txt").write_text(text.replace(" 7 ", " 7 7 ", 1))
    assert "train_FD001.txt, line 7: the row" in refused(tmp_path, "*.txt", **settings)
    assert "write column_names = [...], a name for each column" in refused(
        tmp_path, "*.txt", **{**settings, "column_names": None, "features": ["x"], "targets": ["x"]}
    )


@pytest.mark.parametrize(
    ("encoding", "word"), [("latin-1", "Tür"), ("cp1252", "Preis €"), ("utf-16", "温度"), ("utf-8", "温度")]
)
def test_encodings(tmp_path: Path, encoding: str, word: str) -> None:
    frame = hours(60).assign(k=word).rename(columns={"y": word})
    write_csv(frame, tmp_path / "a.csv", encoding=encoding)
    settings = {"features": [word], "targets": [word], "categorical": ["k"]}
    if encoding in ("latin-1", "cp1252"):
        assert "write encoding" in refused(tmp_path, **settings)
    dataset = prepared(tmp_path, **settings, encoding=encoding)["a"]
    assert dataset.train_categories("k") == [word]
    np.testing.assert_array_equal(values(dataset), frame[word].astype(np.float32))


def test_lines_before_the_header(tmp_path: Path) -> None:
    frame = hours(60)
    write_csv(frame, tmp_path / "plain.csv")
    (tmp_path / "a.csv").write_text('Station "7"\nfrom, to\n\n' + (tmp_path / "plain.csv").read_text())
    assert "its header seems to be line 4: write skip_rows = 3" in refused(tmp_path, "a.csv")
    np.testing.assert_array_equal(values(prepared(tmp_path, "a.csv", skip_rows=3)["a"]), frame["y"].astype(np.float32))
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text() + "x,1\n")
    assert "a.csv, line 65, column 'ts': 'x' is not a time" in refused(tmp_path, "a.csv", skip_rows=3)


def test_the_format_of_a_file_follows_from_its_content_if_its_name_does_not_show_it(tmp_path: Path) -> None:
    frame = hours(60)
    text = frame.to_csv(index=False).encode()
    files = {
        "gzip.csv": gzip.compress(text),
        "b.csv.bz2": bz2.compress(text),
        "c.tsv": text.replace(b",", b"\t"),
        "measured": text,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    frame.to_parquet(tmp_path / "d.parquet.gzip", compression="gzip")
    frame.to_parquet(tmp_path / "e")
    feather.write_feather(frame, tmp_path / "f.feather")
    feather.write_feather(frame, tmp_path / "g.data1", compression="uncompressed")
    for name in [*files, "d.parquet.gzip", "e", "f.feather", "g.data1"]:
        settings = {"delimiter": "\t"} if name == "c.tsv" else {}
        np.testing.assert_array_equal(values(prepared(tmp_path, name, **settings)["a"]), frame["y"].astype(np.float32), name)
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "book.xlsx: it holds a ZIP archive (or Excel), which is not read" in refused(tmp_path, "book.xlsx")


def test_folders_as_spark_and_hive_write_them(tmp_path: Path) -> None:  # case 16
    frames = {"N": hours(60), "S": hours(70), "w": hours(80)}
    for site, frame in frames.items():
        folder = tmp_path / "tbl" / f"site={site}"
        folder.mkdir(parents=True)
        frame.to_parquet(folder / "part-0.snappy.parquet")
        (folder / "_SUCCESS").touch()
        write_csv(frame, tmp_path / "csv" / site / "data.csv")
    for path in ("tbl", "tbl/**/*.parquet", "t*"):
        assert prepared(tmp_path, path, series="site")["a"].manifest.num_series == 3
        datasets = prepared(tmp_path, path, "{site}")
        assert {name: each.manifest.rows for name, each in datasets.items()} == {"N": 60, "S": 70, "w": 80}
    folders = prepared(tmp_path, "csv/*/data.csv", "{folder}")
    assert {name: each.manifest.rows for name, each in folders.items()} == {"N": 60, "S": 70, "w": 80}
    assert len(find_files(f"{tmp_path}/csv")) == 3
    # Two folders of the same content are two series, and the value is part of the address.
    frames["N"].to_parquet(tmp_path / "tbl" / "site=S" / "part-0.snappy.parquet")
    same = prepared(tmp_path, "tbl", "{site}", series="site")
    assert same["N"].folder != same["S"].folder


def test_a_column_that_other_sites_name_otherwise(tmp_path: Path) -> None:
    frame = hours(60)
    write_csv(frame.rename(columns={"y": "temperature"}), tmp_path / "1.csv")
    write_csv(frame.rename(columns={"y": "Temperatur"}).assign(ts=frame["ts"] + pd.Timedelta("60h")), tmp_path / "2.csv")
    rename = {"temperature": "y", "Temperatur": "y"}
    dataset = prepared(tmp_path, rename=rename, frequency="1h")["a"]
    np.testing.assert_array_equal(values(dataset), np.tile(frame["y"].astype(np.float32), 2))
    write_csv(frame.assign(temperature=1, Temperatur=2), tmp_path / "1.csv")
    assert "rename makes one column 'y' of 'temperature' and 'Temperatur'" in refused(tmp_path, rename=rename)


def test_datasets_come_in_the_order_of_the_paths_and_of_their_appearance(tmp_path: Path) -> None:  # item 10
    for name, sites in (("z.csv", ["m", "b"]), ("a.csv", ["c", "b", "a"])):
        write_csv(pd.concat([hours(60, f"202{ord(name[0]) % 7}-01-01", site=site) for site in sites]), tmp_path / name)
    assert list(prepared(tmp_path, ["z.csv", "a.csv"], "{site}")) == ["m", "b", "c", "a"]
    assert list(prepared(tmp_path, "*.csv", "{site}")) == ["c", "b", "a", "m"]
    for number in (1, 2, 10):
        write_csv(hours(60), tmp_path / "many" / f"site{number}.csv")
    assert list(prepared(tmp_path, "many/*.csv", "{file}")) == ["site1", "site2", "site10"]


def test_a_site_with_a_slash_in_its_name(tmp_path: Path) -> None:
    write_csv(pd.concat([hours(60, site=site) for site in ("N/A", "hall 1/2")]), tmp_path / "a.csv")
    assert list(prepared(tmp_path, "a.csv", "{site}")) == ["N_A", "hall 1_2"]


def test_arrow_streams_and_files_are_read_alike(tmp_path: Path) -> None:
    import pyarrow as pa

    table = pa.table({"ts": np.arange(40), "y": np.arange(40.0)})
    for name, make in (("f.arrow", pa.ipc.new_file), ("s.arrow", pa.ipc.new_stream)):
        with pa.OSFile(str(tmp_path / name), "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table)
        assert read_table(str(tmp_path / name), ["y"], [], FileFormat()).column("y").to_pylist() == list(range(40))


def test_settings_that_read_no_file(tmp_path: Path) -> None:
    for settings, message in (
        ({"encoding": "latin-9000"}, "encoding = 'latin-9000' is not known"),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands are both ','"),
        ({"column_names": ["a", "a"]}, "column_names has 'a' twice"),
        ({"time_zone": "UTC", "time": None}, "time_zone needs a time column"),
        ({"duplicates": "first", "time": None}, "duplicates needs a time column"),
        ({"time_unit": "s", "time_format": "%Y"}, "leave one of them out"),
        ({"time_format": "year"}, "has no directive such as %Y"),
    ):
        merged = {key: value for key, value in {**DATA, **settings}.items() if value is not None}
        from data.reading.settings import DataSettings

        (error,) = errors_of(DataSettings, merged, "data")
        assert message in error[1]
    with pytest.raises(InputError, match="no such file"):
        find_files(str(tmp_path / "none.csv"))
