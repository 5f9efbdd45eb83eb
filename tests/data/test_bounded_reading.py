"""Files that cannot be cut by bytes or row groups are read in tables of bounded size, with the same rows as in one piece."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from data_cases import prepare_one, source_of, write_csv
from panels import PANEL, panel, prepare_cut, same, whole_of

from data.errors import InputError
from data.sharding import pieces, streams
from data.sharding.pieces import cut_file, read_piece, survey

PIECE = 4000


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(streams, "CHUNK_BYTES", 1000)


def packed(how: Callable[[bytes], bytes], suffix: str) -> Callable[[pd.DataFrame, Path], Path]:
    def write(frame: pd.DataFrame, folder: Path) -> Path:
        file = folder / f"all.csv{suffix}"
        file.write_bytes(how(write_csv(frame.assign(note='two\n"lines"'), folder / "plain.csv").read_bytes()))
        return file

    return write


def utf_16(frame: pd.DataFrame, folder: Path) -> Path:
    return write_csv(frame.assign(note='two\n"lines"'), folder / "wide.csv", encoding="utf-16")


def table_of(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame.astype({"kind": "category"}), preserve_index=False)


def feather(frame: pd.DataFrame, folder: Path) -> Path:
    pyarrow.feather.write_feather(table_of(frame), str(folder / "all.feather"), compression="lz4", chunksize=150)
    return folder / "all.feather"


def one_batch(frame: pd.DataFrame, folder: Path) -> Path:
    with pa.ipc.new_file(str(folder / "all.arrow"), table_of(frame).schema) as writer:
        writer.write_table(table_of(frame))
    return folder / "all.arrow"


def stream(frame: pd.DataFrame, folder: Path) -> Path:
    with pa.ipc.new_stream(str(folder / "all.arrow"), table_of(frame).schema) as writer:
        for part in (frame[:700], frame[700:]):  # each part has another dictionary
            writer.write_table(table_of(part))
    return folder / "all.arrow"


def one_row_group(frame: pd.DataFrame, folder: Path) -> Path:
    pq.write_table(table_of(frame), folder / "all.parquet", row_group_size=len(frame))
    return folder / "all.parquet"


FORMS: dict[str, Callable[[pd.DataFrame, Path], Path]] = {
    "gzip": packed(gzip.compress, ".gz"),
    "bzip2": packed(bz2.compress, ".bz2"),
    "utf-16": utf_16,
    "feather": feather,
    "one record batch": one_batch,
    "arrow stream": stream,
    "one row group": one_row_group,
}


@pytest.mark.parametrize("form", FORMS)
def test_the_rows_are_those_of_one_piece_and_few_are_in_memory_at_a_time(tmp_path: Path, form: str) -> None:
    frame = panel()
    file = FORMS[form](frame, tmp_path)
    changes = {"encoding": "utf-16"} if form == "utf-16" else {}
    source = source_of(file, **PANEL, **changes)
    cut = cut_file(survey(str(file), source.settings.file_format, PIECE), PIECE)
    tables = [len(rows.numbers) for piece in cut for rows in read_piece(piece, source)]
    assert sum(tables) == len(frame)
    assert max(tables) <= PIECE // 20  # a row has at least so many bytes
    same(prepare_cut(source, tmp_path / "cut", 173), whole_of(frame, tmp_path))


@pytest.mark.parametrize("form", ["gzip", "feather", "utf-16"])
def test_a_wrong_cell_is_named_by_its_position_in_the_file(tmp_path: Path, form: str) -> None:
    frame = panel(2).astype({"a": object})
    frame["a"] = frame["a"].map(lambda value: None if pd.isna(value) else str(value))
    frame.loc[frame.index[301], "a"] = "broken"
    changes = {"encoding": "utf-16"} if form == "utf-16" else {}
    source = source_of(FORMS[form](frame, tmp_path), **PANEL, **changes)
    with pytest.raises(InputError) as whole:
        prepare_one(list(source.files), tmp_path / "reference", **PANEL, **changes)
    with pytest.raises(InputError) as cut:
        prepare_cut(source, tmp_path / "cut", 101)
    assert cut.value.messages == whole.value.messages


@pytest.mark.parametrize("content", [b"", b"t,a\n", b"t,a"])
def test_a_compressed_file_without_rows_is_refused_like_a_plain_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(content))
    source = source_of(tmp_path / "f.csv.gz", time="t")
    with pytest.raises(InputError) as whole:
        prepare_one(list(source.files), tmp_path / "reference", time="t")
    with pytest.raises(InputError) as cut:
        prepare_cut(source, tmp_path / "cut", 101)
    assert cut.value.messages == whole.value.messages


def test_a_file_that_ends_too_early_or_has_another_encoding_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(write_csv(panel(), tmp_path / "f.csv").read_bytes())
    (tmp_path / "short.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"short\.csv\.gz: "):
        prepare_cut(source_of(tmp_path / "short.csv.gz", **PANEL), tmp_path / "cut", 101)
    (tmp_path / "wide.csv").write_bytes(panel().to_csv(index=False).encode("utf-16") + b"\x00")
    with pytest.raises(InputError, match=r"wide\.csv: a cell is not utf-16"):
        prepare_cut(source_of(tmp_path / "wide.csv", **PANEL, encoding="utf-16"), tmp_path / "cut2", 101)


BERLIN: dict[str, Any] = {
    "time_zone": "Europe/Berlin",
    "time": "t",
    "frequency": "30min",
    "features": ["a"],
    "targets": ["a"],
}


@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("series", [None, "site"])
def test_the_repeated_hour_in_autumn_is_distinguished_across_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, falling: bool, series: str | None
) -> None:
    """Put the repeated hour in two pieces, in one table in time order and, with series, in each series."""
    moments = pd.date_range("2024-10-26 12:00", "2024-10-27 06:00", freq="30min", tz="UTC").tz_convert("Europe/Berlin")
    names = ["n", "s"] if series else ["n"]
    random = np.random.default_rng(0)
    frames = [
        pd.DataFrame({"t": moments.strftime("%Y-%m-%d %H:%M"), "a": random.normal(size=len(moments)), "site": name})
        for name in names
    ]
    frame = pd.concat(frames).sort_index(kind="stable")
    frame = frame[::-1] if falling else frame
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1500)
    settings = {**BERLIN, "series": series}
    file = write_csv(frame, tmp_path / "f.csv")
    whole = prepare_one(file, tmp_path / "whole", **settings)
    assert whole.manifest.rows == len(frame)
    for size in (200, 320):
        same(prepare_cut(source_of(file, **settings), tmp_path / str(size), 40, size), whole)
    labelled = {**settings, "categorical": ["kind"]}
    for form in (one_row_group, one_batch, stream):  # their tables are smaller if more columns are read
        other, name = form(frame.assign(kind="x"), tmp_path), form.__name__
        expected = prepare_one(other, tmp_path / f"whole {name}", **labelled)
        same(prepare_cut(source_of(other, **labelled), tmp_path / name, 40), expected)
    packed_file = tmp_path / "f.csv.gz"
    packed_file.write_bytes(gzip.compress(file.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 400)
        same(prepare_cut(source_of(packed_file, **settings), tmp_path / "packed", 40), whole)
