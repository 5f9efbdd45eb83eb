"""A dataset is prepared once; an error leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import encoded, in_process, noise, prepare_all, samples_of, source_of, write_csv

from data.errors import InputError
from data.prepared.manifest import put_in_place, scratch_folder
from data.prepared.prepare import prepare
from data.prepared.prepared import PreparedDataset
from data.prepared.shards import Shard
from data.reading import files
from data.reading.files import FileNotes
from data.reading.settings import DatasetSource


class Preparing:
    """Prepare in a folder and record the shards that are run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.shards: list[Shard] = []

    def run(self, tasks: list[list[Shard]]) -> Any:
        self.shards += [shard for task in tasks for shard in task]
        return in_process(tasks)

    def __call__(self, *sources: DatasetSource) -> list[PreparedDataset]:
        self.shards.clear()
        return prepare(sources, self.folder, FileNotes(self.folder / "sources"), self.run)


@pytest.fixture
def preparing(tmp_path: Path) -> Preparing:
    return Preparing(tmp_path / "prepared")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    frame = noise(50, "ab").assign(t=pd.date_range("2020", periods=50, freq="h"), c=["x", "y"] * 25)
    return write_csv(frame, tmp_path / "f.csv")


def test_a_second_time_runs_no_shard_and_reads_no_file(
    preparing: Preparing, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = preparing(source_of(file))
    assert len(preparing.shards) == 1
    monkeypatch.setattr(files, "CHUNK_BYTES", None)  # hashing a file fails
    (second,) = preparing(source_of(file))
    assert preparing.shards == []
    assert first.folder == second.folder


def test_a_file_with_other_content_of_the_same_size_and_time_is_noticed(preparing: Preparing, file: Path) -> None:
    (first,) = preparing(source_of(file))
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"1.", b"2.", 1))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    (second,) = preparing(source_of(file))
    assert second.folder != first.folder


def test_only_missing_datasets_are_prepared(preparing: Preparing, file: Path, tmp_path: Path) -> None:
    other = write_csv(noise(60, "ab", 1), tmp_path / "g.csv")
    preparing(source_of(file))
    datasets = preparing(source_of(other, name="g"), source_of(file))
    assert [shard.source.name for shard in preparing.shards] == ["g"]
    assert [dataset.manifest.rows for dataset in datasets] == [60, 50]


def test_other_content_is_prepared_again_and_a_touched_file_is_not(preparing: Preparing, file: Path) -> None:
    (first,) = preparing(source_of(file))
    os.utime(file, (0, 0))
    assert preparing(source_of(file))[0].folder == first.folder
    assert preparing.shards == []
    content = file.read_text().replace("1.", "2.", 1)
    file.write_text(content)
    (second,) = preparing(source_of(file))
    assert len(preparing.shards) == 1
    assert second.folder != first.folder


CHANGES = [
    {"lookback": 4},
    {"horizon": 2},
    {"stride": 2},
    {"min_lookback": 2},
    {"features": ["b"]},
    {"targets": ["b"]},
    {"time": "t"},
    {"time": "t", "calendar": ["hour"]},
    {"missing": "forward"},
    {"missing_flags": True},
    {"split": [0.5, 0.3, 0.2]},
    {"where": {"c": "x"}},
    {"categorical": ["c"]},
    {"features": ["b"], "targets": ["c"], "horizon": 0, "classes": True},
    {"series": "{file}"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_another_setting_is_prepared_anew(preparing: Preparing, file: Path, change: dict[str, Any]) -> None:
    (first,) = preparing(source_of(file))
    (second,) = preparing(source_of(file, **change))
    assert len(preparing.shards) == 1
    assert second.folder != first.folder


@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax", "none"])
@pytest.mark.parametrize("scope", ["dataset", "shared", "primary"])
def test_another_scaling_is_not_prepared_anew(preparing: Preparing, file: Path, scaling: str, scope: str) -> None:
    (first,) = preparing(source_of(file))
    (second,) = preparing(source_of(file, scaling=scaling, scaling_scope=scope))
    assert preparing.shards == []
    assert second.folder == first.folder
    assert (second.settings.scaling, second.settings.scaling_scope) == (scaling, scope)
    center = encoded(second)[0].encoding.center[0]
    train = pd.read_csv(file)["a"][:30]
    expected = {"standard": train.mean(), "robust": train.median(), "minmax": train.min(), "none": 0}
    assert center == pytest.approx(expected[scaling], rel=1e-6)


def test_another_name_is_not_prepared_anew_and_is_the_datasets_name(preparing: Preparing, file: Path) -> None:
    preparing(source_of(file, name="old"))
    one, other = preparing(source_of(file, name="new"), source_of(file, name="again"))
    assert preparing.shards == []
    assert (one.name, other.name) == ("new", "again")
    assert encoded([one, other])[0].name == "new"
    assert PreparedDataset(one.folder).name == "old"


def test_two_datasets_of_the_same_rows_are_prepared_once(preparing: Preparing, file: Path) -> None:
    one, other = preparing(source_of(file, name="one"), source_of(file, name="two"))
    assert len(preparing.shards) == 1
    assert one.folder == other.folder


def test_a_file_of_another_name_counts_where_it_names_the_series(preparing: Preparing, file: Path) -> None:
    plain, named = preparing(source_of(file), source_of(file, series="{file}"))
    moved = file.rename(file.with_name("moved.csv"))
    again, renamed = preparing(source_of(moved), source_of(moved, series="{file}"))
    assert again.folder == plain.folder
    assert renamed.folder != named.folder


def test_quartiles_are_computed_once_and_stored(preparing: Preparing, file: Path) -> None:
    (first,) = preparing(source_of(file, scaling="robust"))
    expected = encoded(first)[0].encoding
    for part in first.folder.glob("values-*"):
        part.unlink()
    assert encoded(preparing(source_of(file, scaling="robust")))[0].encoding == expected


def test_a_prepared_dataset_is_opened_from_its_folder_alone(preparing: Preparing, file: Path) -> None:
    (prepared,) = preparing(source_of(file))
    opened = PreparedDataset(prepared.folder)
    assert opened.settings == prepared.settings
    np.testing.assert_array_equal(samples_of(opened, "test").inputs, samples_of(prepared, "test").inputs)


def test_an_error_leaves_nothing_behind(tmp_path: Path, file: Path) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text("a\n" + "1\n" * 40 + "x\n")
    with pytest.raises(InputError):
        prepare_all([source_of(file), source_of(broken, name="broken")], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.csv", "f.csv"]


def test_an_error_keeps_datasets_of_earlier_calls(preparing: Preparing, file: Path, tmp_path: Path) -> None:
    preparing(source_of(file))
    before = sorted(preparing.folder.rglob("*"))
    with pytest.raises(InputError):
        preparing(source_of(file, lookback=1000))
    with pytest.raises(InputError):
        preparing(source_of(tmp_path / "absent.csv"))
    assert sorted(preparing.folder.rglob("*")) == before


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, file: Path) -> None:
    def interrupt(tasks: list[list[Shard]]) -> Any:
        in_process(tasks)
        raise KeyboardInterrupt

    folder = tmp_path / "deep" / "prepared"
    with pytest.raises(KeyboardInterrupt):
        prepare([source_of(file)], folder, FileNotes(folder / "sources"), interrupt)
    assert not (tmp_path / "deep").exists()


def test_the_dataset_that_is_put_in_place_first_is_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for content in ("first", "second"):
        with scratch_folder(tmp_path) as scratch:
            (scratch / "manifest.json").write_text(content)
            put_in_place(scratch, home)
    assert (home / "manifest.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_half_of_a_folder_is_replaced(preparing: Preparing, file: Path) -> None:
    (prepared,) = preparing(source_of(file))
    (prepared.folder / "manifest.json").unlink()
    (again,) = preparing(source_of(file))
    assert len(preparing.shards) == 1
    np.testing.assert_array_equal(samples_of(again, "train").inputs, samples_of(prepared, "train").inputs)
