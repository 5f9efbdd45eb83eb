"""The rows, samples and statistics of a dataset do not depend on its files and on the parts that it is cut into."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
from data_cases import prepare_one, source_of, write_csv
from hypothesis import given
from hypothesis import strategies as st
from panels import LAYOUTS, PANEL, by_time, one_csv, panel, prepare_cut, row_groups, same, whole_of, windows_of

from data.errors import InputError
from data.reading.file_format import FileFormat
from data.reading.settings import SPLITS, DatasetSource
from data.sharding import pieces, runs, streams
from data.sharding.pieces import Piece, cut_file, read_piece, survey
from data.sharding.runs import write_run


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("most_rows", [50, 173, 10_000])
def test_every_layout_gives_the_rows_of_one_piece_whatever_the_size_of_a_part(
    tmp_path: Path, layout: str, most_rows: int
) -> None:
    frame = panel()
    source = source_of(LAYOUTS[layout](frame, tmp_path), **PANEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "MARK_ROWS", 16)
        cut = prepare_cut(source, tmp_path / "cut", most_rows)
    same(cut, whole_of(frame, tmp_path))
    if most_rows == 10_000:
        assert cut.manifest.sha256 == whole_of(frame, tmp_path).manifest.sha256


IRREGULAR = {**PANEL, "frequency": None}
CHANGES: dict[str, dict[str, Any]] = {
    "no frequency": {"frequency": None},
    "split by dates": {"split": {"validation": "2024-01-09", "test": "2024-01-12", "end": "2024-01-15"}},
    "split by dates, no frequency": {"frequency": None, "split": {"validation": "2024-01-09", "test": "2024-01-12"}},
    "split by series": {"split_by": "series", "split": [0.6, 0.2, 0.2]},
    "forward": {"missing": "forward"},
    "mean": {"missing": "mean", "missing_flags": False},
    "drop": {"missing": "drop", "min_lookback": 12},
    "weight": {"weight": "w"},
    "known future": {"known_future": ["a"], "missing": "drop", "missing_flags": False, "min_lookback": 12},
    "label": {"targets": ["b"], "features": ["a"], "horizon": 0},
    "whole series": {"lookback": "all", "features": ["a"], "horizon": 0, "split_by": "series"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_setting_gives_the_rows_of_one_piece(tmp_path: Path, change: str) -> None:
    frame, settings = panel(), {**PANEL, **CHANGES[change]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "MARK_ROWS", 16)
        cut = prepare_cut(source_of(by_time(frame, tmp_path), **settings), tmp_path / "cut", 101)
    same(cut, whole_of(frame, tmp_path, **settings))


def test_rows_of_a_series_in_files_that_overlap_in_time_are_merged(tmp_path: Path) -> None:
    frame = panel(1, 900).drop(columns="site")
    files = [write_csv(frame[number::3], tmp_path / f"f{number}.csv") for number in range(3)]
    settings = {**IRREGULAR, "series": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "MARK_ROWS", 16)
        cut = prepare_cut(source_of(files, **settings), tmp_path / "cut", 70)
    assert len(cut.parts) > 10
    same(cut, whole_of(frame, tmp_path, **settings))


def test_rows_without_times_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    frame = panel(1, 900)
    settings = {**PANEL, "series": None, "time": None, "frequency": None, "calendar": []}
    cut = prepare_cut(source_of(row_groups(frame, tmp_path), **settings), tmp_path / "cut", 70)
    same(cut, whole_of(frame, tmp_path, **settings))


def test_classes_are_numbered_alike_in_all_parts(tmp_path: Path) -> None:
    settings = {**PANEL, "targets": ["kind"], "categorical": [], "horizon": 0, "classes": True}
    frame = panel()
    cut = prepare_cut(source_of(by_time(frame, tmp_path), **settings), tmp_path / "cut", 101)
    whole = whole_of(frame, tmp_path, **settings)
    same(cut, whole)
    for split in SPLITS:
        assert cut.target_labels(split) == whole.target_labels(split)
    assert cut.manifest.naive == whole.manifest.naive


def test_test_files_are_cut_too_and_nothing_of_them_is_train(tmp_path: Path) -> None:
    main, test = panel(), panel(3, 300, seed=1)
    test["t"] += pd.Timedelta(days=100)
    settings = {**PANEL, "split": [0.8, 0.2, 0.0]}
    files = by_time(main, tmp_path)
    tests = [write_csv(frame, tmp_path / "test" / f"{day}.csv") for day, frame in test.groupby(test["t"].dt.date)]
    cut = prepare_cut(source_of(files, test_files=tests, **settings), tmp_path / "cut", 101)
    whole_file = write_csv(test, tmp_path / "all_test.csv")
    whole = whole_of(main, tmp_path, test_files=[whole_file], **settings)
    for split in SPLITS:
        assert cut.num_samples(split) == whole.num_samples(split)
    assert cut.statistics.to_json() == whole.statistics.to_json()
    same_windows = windows_of(cut, "train") == windows_of(whole, "train")
    assert same_windows


def problems_of(source: DatasetSource, folder: Path, most_rows: int = 101) -> list[str]:
    with pytest.raises(InputError) as raised:
        prepare_cut(source, folder / "cut", most_rows)
    return raised.value.messages


def test_a_repeated_time_is_named_with_both_files_and_lines(tmp_path: Path) -> None:
    frame = panel(2)
    files = by_time(frame, tmp_path)
    again = pd.read_csv(files[7]).iloc[[5]]
    pd.concat([pd.read_csv(files[2]), again]).to_csv(files[2], index=False)
    with pytest.raises(InputError) as whole:
        prepare_one(files, tmp_path / "reference", **PANEL)
    messages = problems_of(source_of(files, **PANEL), tmp_path)
    assert len(messages) == 1
    for words in ("is already in", f"{files[7]}, line 7", f"{files[2]}, line {len(pd.read_csv(files[2])) + 1}"):
        assert words in messages[0]
        assert words in whole.value.messages[0]


def test_times_off_the_grid_are_refused_with_the_message_of_one_piece(tmp_path: Path) -> None:
    frame = panel(2)
    frame.loc[50, "t"] += pd.Timedelta(minutes=7)
    files = by_time(frame, tmp_path)
    assert "is not a whole number of steps of 1h" in problems_of(source_of(files, **PANEL), tmp_path)[0]
    files = by_time(panel(2), tmp_path)
    assert "does not fit its times" in problems_of(source_of(files, **{**PANEL, "frequency": 1}), tmp_path / "number")[0]


@pytest.mark.parametrize("layout", ["row groups", "one CSV"])
def test_a_cell_that_is_no_number_is_named_by_its_position_in_the_file(tmp_path: Path, layout: str) -> None:
    frame = panel(2).astype({"a": object})
    frame["a"] = frame["a"].map(lambda value: None if pd.isna(value) else str(value))
    frame.loc[frame.index[301], "a"] = "broken"
    files = LAYOUTS[layout](frame, tmp_path)
    with pytest.raises(InputError) as whole:
        prepare_one(files, tmp_path / "reference", **PANEL)
    assert problems_of(source_of(files, **PANEL), tmp_path) == whole.value.messages


@hypothesis.settings(max_examples=40)
@given(st.lists(st.text(st.sampled_from('ab",\n'), max_size=12), min_size=1, max_size=80), st.integers(1, 200))
def test_a_csv_file_is_cut_between_its_rows(cells: list[str], piece_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "CHUNK_BYTES", 64)
        file = write_csv(pd.DataFrame({"note": cells, "a": range(len(cells))}), Path(folder) / "f.csv")
        source = source_of(file)
        tables = [
            rows
            for piece in cut_file(survey(str(file), FileFormat(), piece_bytes), piece_bytes)
            for rows in read_piece(piece, source)
        ]
    assert np.concatenate([rows.numbers[:, 0] for rows in tables]).tolist() == list(range(len(cells)))


def test_pieces_of_a_csv_file_know_the_lines_before_them(tmp_path: Path) -> None:
    file = one_csv(panel(), tmp_path)[0]
    content = file.read_bytes()
    cut = cut_file(survey(str(file), FileFormat(), 2000), 2000)
    assert len(cut) > 10
    assert [piece.start for piece in cut[1:]] == [piece.stop for piece in cut[:-1]]
    for piece in cut:
        assert content[: piece.start].count(b"\n") == piece.before + 1


FORMS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({}, "a b\n"),
    "no header": ({"column_names": ["a", "b"]}, ""),
    "lines before the header": ({"skip_rows": 2}, 'made by "x\n"\na b\n'),
    "lines before rows without a header": ({"skip_rows": 1, "column_names": ["a", "b"]}, "it's 5\" wide\n"),
    "blanks": ({"delimiter": "whitespace"}, "a   b\n"),
    "latin-1": ({"encoding": "latin-1"}, "a b\n"),
    "utf-16": ({"encoding": "utf-16"}, "a b\n"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk_bytes", [7, 1 << 22])
def test_a_csv_file_of_any_form_is_cut_between_its_rows(tmp_path: Path, form: str, chunk_bytes: int) -> None:
    changes, start = FORMS[form]
    changes = {"delimiter": " ", **changes}
    text = start + "".join(f"{number} {number / 8}\n" for number in range(300))
    file = tmp_path / "f.csv"
    file.write_text(text, encoding=changes.get("encoding", "utf-8"))
    source = source_of(file, features=["a", "b"], **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(streams, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(pieces, "PIECE_BYTES", 100)
        cut = cut_file(survey(str(file), source.settings.file_format, 100), 100)
        tables = [rows.numbers for piece in cut for rows in read_piece(piece, source)]
    assert (len(cut) > 20) == (form != "utf-16")
    assert len(tables) > 20
    numbers = np.concatenate(tables)
    assert numbers[:, 0].tolist() == list(range(300))


@pytest.mark.parametrize("high", [1.3e8, 0.0])
def test_a_counter_keeps_its_steps_in_all_parts(tmp_path: Path, high: float) -> None:
    frame = panel(1, 900).drop(columns="site")
    frame["a"] = high + np.arange(len(frame)) * 3.0 + 0.1
    settings = {**PANEL, "series": None, "frequency": None}
    cut = prepare_cut(source_of(one_csv(frame, tmp_path), **settings), tmp_path / "cut", 70)
    assert {part.bits for part in cut.manifest.parts} == {64 if high else 32}
    same(cut, whole_of(frame, tmp_path, **settings))


def test_series_with_different_steps_give_the_same_warning_in_parts(tmp_path: Path) -> None:
    frame = panel(3)
    frame.loc[frame["site"] == "s1", "t"] += (frame["t"] - frame["t"].min()) * 3
    cut = prepare_cut(source_of(by_time(frame, tmp_path), **IRREGULAR), tmp_path / "cut", 101)
    whole = whole_of(frame, tmp_path, **IRREGULAR)
    assert any("different steps of time" in warning for warning in whole.manifest.warnings)
    assert cut.manifest.warnings == whole.manifest.warnings


def test_the_message_about_a_run_does_not_grow_with_its_rows(tmp_path: Path) -> None:
    """Measure the pickle of a run: a slice of an Arrow array is sent with the whole array (7 GB for 4.5 GB of data)."""
    sizes = []
    for number, rows in enumerate((2_000, 40_000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        source = source_of(row_groups(panel(1, rows), folder), **PANEL)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runs, "MARK_ROWS", rows)
            (run,) = (
                write_run(each, source, Piece("f"), 0, str(folder / "run"))
                for each in read_piece(Piece(*source.files), source)
            )
        sizes.append(len(pickle.dumps(run)))
    assert sizes[1] < sizes[0] + 200
