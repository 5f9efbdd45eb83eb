"""Which datasets are cut into parts, and checks of prepared data when they are opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from data_cases import noise, prepare_one, source_of, write_csv
from panels import PANEL, by_series, by_time, cut_into_parts, panel, row_groups, same

from data.errors import InputError
from data.prepared import part_files
from data.prepared.layout import PACKED_TIMES, is_cut_at_once, is_worth_cutting, sizes_of
from data.prepared.part_files import DamagedRowsError
from data.prepared.prepare import prepare
from data.prepared.prepared import PreparedDataset
from data.prepared.running import run_here
from data.prepared.shards import Shard
from data.reading.files import FileNotes
from data.sharding import pieces
from data.sharding.tasks import PartTask, SurveyTask

MB = 1 << 20


def test_one_large_file_or_series_is_cut_and_files_with_separate_series_are_not() -> None:
    one, many = source_of(["a.csv"], series="s"), source_of(["a.csv", "b.csv"], series="s", time="t")
    joined = source_of(["a.csv", "b.csv"], time="t")
    assert is_cut_at_once(one, {"a.csv": 64 * MB})
    assert not is_cut_at_once(one, {"a.csv": 64 * MB - 1})
    assert is_cut_at_once(joined, {"a.csv": 40 * MB, "b.csv": 40 * MB})
    assert not is_cut_at_once(many, {"a.csv": 500 * MB, "b.csv": 500 * MB})
    assert is_worth_cutting(many, {"a.csv": 500 * MB, "b.csv": 500 * MB})
    assert is_cut_at_once(many, {"a.csv": 1024 * MB, "b.csv": 1 * MB})
    untimed = source_of(["a.csv", "b.csv"])  # each file is a series of its own
    assert not is_cut_at_once(untimed, {"a.csv": 500 * MB, "b.csv": 500 * MB})


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_compressed_files_count_with_their_unpacked_size_and_at_least_four_times(tmp_path: Path, suffix: str) -> None:
    def pack(name: str, content: bytes) -> str:
        path = tmp_path / f"{name}.csv.{suffix}"
        with pa.output_stream(path, compression={"gz": "gzip", "zst": "zstd"}.get(suffix, suffix)) as stream:
            stream.write(content)
        return str(path)

    random = np.random.default_rng(0)
    values = np.cumsum(random.normal(size=20_000)).round(1)
    alike = "".join(
        f"2024-01-01 {n // 60:05}:{n % 60:02},{value},a name of a place\n" for n, value in enumerate(values)
    ).encode()
    large, small = pack("large", alike), pack("small", alike[:100_000])
    plain = str(write_csv(noise(10, "ab"), tmp_path / "plain.csv"))
    sizes = sizes_of([source_of([large, small, plain])])
    assert sizes[plain] == Path(plain).stat().st_size
    assert 0.7 * len(alike) < sizes[large] < 1.4 * len(alike)
    assert sizes[small] > PACKED_TIMES * Path(small).stat().st_size
    noisy = pack("noisy", random.bytes(3_000_000))
    assert sizes_of([source_of([noisy])]) == {noisy: PACKED_TIMES * Path(noisy).stat().st_size}


class Counted:
    """Run tasks in this process and record them."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    def __call__(self, tasks: list[list[Any]]) -> list[list[Any]]:
        self.tasks += [each for task in tasks for each in task]
        return run_here(tasks)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut datasets of any size into parts of 64 rows."""
    cut_into_parts(monkeypatch, 64)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 5000)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("layout", [by_time, row_groups, by_series])
def test_a_dataset_is_prepared_in_parts_where_its_series_cross_files(tmp_path: Path, layout: Any) -> None:
    frame, run = panel(), Counted()
    source = source_of(layout(frame, tmp_path), **PANEL)
    (dataset,) = prepare([source], tmp_path / "p", FileNotes(tmp_path / "p" / "sources"), run)
    with pytest.MonkeyPatch.context() as patch:
        patch.undo()
        patch.setattr("data.prepared.layout.CUT_BYTES", 1 << 40)
        whole = prepare_one(write_csv(frame, tmp_path / "all.csv"), tmp_path / "whole", **PANEL)
    same(dataset, whole)
    cut = any(isinstance(task, PartTask) for task in run.tasks)
    assert cut == (layout is not by_series)
    assert len(dataset.parts) > (20 if cut else 4)
    assert any(isinstance(task, Shard) for task in run.tasks) != cut
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [dataset.folder.name, "sources"]


@pytest.mark.usefixtures("small_parts")
def test_an_error_in_a_cut_dataset_leaves_nothing_behind(tmp_path: Path) -> None:
    frame = panel(2)
    frame.loc[50, "t"] += np.timedelta64(7, "m")
    source = source_of(row_groups(frame, tmp_path), **PANEL)
    with pytest.raises(InputError, match="not a whole number of steps"):
        prepare([source], tmp_path / "p", FileNotes(tmp_path / "p" / "sources"), run_here)
    assert not (tmp_path / "p").exists()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("layout", [by_time, row_groups])
def test_a_preparation_that_is_interrupted_after_any_step_leaves_nothing_behind(tmp_path: Path, layout: Any) -> None:
    source, folder = source_of(layout(panel(2), tmp_path), **PANEL), tmp_path / "deep" / "p"
    steps = 0

    class Interrupted(Counted):
        def __call__(self, tasks: list[list[Any]]) -> list[list[Any]]:
            nonlocal left
            results = super().__call__(tasks)
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return results

    while True:
        steps += 1
        left = steps
        try:
            prepare([source], folder, FileNotes(folder / "sources"), Interrupted())
        except KeyboardInterrupt:
            assert not (tmp_path / "deep").exists()
        else:
            break
    assert steps > 3  # hashes, runs, labels, parts
    assert len(list(folder.glob("[!s]*"))) == 1


def prepared(tmp_path: Path) -> PreparedDataset:
    return prepare_one([write_csv(noise(400, "ab"), tmp_path / "f.csv")], tmp_path)


def zero(file: Path) -> None:
    """Overwrite some bytes with zeros, as a bad disk does."""
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        stream.write(bytes(400))


@pytest.mark.parametrize("name", ["values-00000.arrow", "samples-00000.arrow"])
def test_damaged_rows_are_not_read(tmp_path: Path, name: str) -> None:
    folder = prepared(tmp_path).folder
    zero(folder / name)
    with pytest.raises(DamagedRowsError, match=rf"{name} is damaged"):
        _ = PreparedDataset(folder).parts[0].values, PreparedDataset(folder).parts[0].samples


@pytest.mark.parametrize("harm", [zero, Path.unlink])
def test_a_damaged_or_incomplete_dataset_is_prepared_again(tmp_path: Path, harm: Any) -> None:
    first = prepared(tmp_path)
    expected = first.parts[0].values.tobytes()
    harm(first.folder / "values-00000.arrow")
    again = prepared(tmp_path)
    assert again.folder == first.folder
    assert again.parts[0].values.tobytes() == expected


def test_a_file_is_hashed_once_on_a_machine_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, hashed = prepared(tmp_path).folder, []

    def count(path: Path) -> tuple[int, str]:
        hashed.append(path.name)
        return facts(path)

    facts = part_files.file_facts
    monkeypatch.setattr(part_files, "file_facts", count)
    for _ in range(3):
        part = PreparedDataset(folder).parts[0]
        _ = part.values, part.samples
    assert hashed == ["values-00000.arrow", "samples-00000.arrow"]
    shutil.copy2(folder / "values-00000.arrow", tmp_path / "copy")
    (tmp_path / "copy").replace(folder / "values-00000.arrow")  # another file of the same size and time
    _ = PreparedDataset(folder).parts[0].values
    assert hashed == ["values-00000.arrow", "samples-00000.arrow", "values-00000.arrow"]


def test_a_dataset_of_a_version_without_hashes_is_read(tmp_path: Path) -> None:
    folder = prepared(tmp_path).folder
    text = (folder / "manifest.json").read_text()

    facts = json.loads(text)
    del facts["manifest_sha256"]
    for part in facts["parts"]:
        del part["files"], part["overlap"]
    (folder / "manifest.json").write_text(json.dumps(facts))
    assert PreparedDataset(folder).files.problem() is None
    assert PreparedDataset(folder).parts[0].values.shape == (400, 2)


def test_unknown_files_are_hashed_by_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_csv(noise(400, "ab"), tmp_path / "f.csv")
    expected = prepare_one([file], tmp_path / "here").folder.name
    run = Counted()
    facts = FileNotes(tmp_path / "p" / "sources")
    monkeypatch.setattr("data.prepared.prepare.CUT_BYTES", 0)
    (dataset,) = prepare([source_of([file])], tmp_path / "p", facts, run)
    assert dataset.folder.name == expected
    assert [type(task) for task in run.tasks] == [SurveyTask, Shard]


def test_a_file_that_is_written_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    file = write_csv(noise(400, "ab"), tmp_path / "f.csv")

    def run(tasks: list[list[Any]]) -> list[list[Any]]:
        results = run_here(tasks)
        file.write_text(file.read_text() + "1,2\n")
        return results

    with pytest.raises(InputError, match=r"f\.csv: it was written while it was read"):
        prepare([source_of([file])], tmp_path / "p", FileNotes(tmp_path / "p" / "sources"), run)
    assert not (tmp_path / "p").exists()
