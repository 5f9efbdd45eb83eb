"""Data that earlier versions prepared correctly keep their address; data that they prepared wrongly are not used again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import encoded, noise, prepare_all, prepare_one, source_of, write_csv
from test_cases import hours, prepared

from data.prepared.mended import right_home
from data.prepared.prepared import PreparedDataset
from data.reading.files import FileNotes
from data.reading.settings import DatasetSource

# Fingerprint, and the beginnings of the hashes of the train and test samples and of the encoding, at commit 6e35f09.
GOLDEN = {
    "plain": ("c581329f6c0d3fd69c7dac7bc98edcf6", "539ee0d9d6bb40cb", "4560db7ea09ca702", "66eace70d7771896"),
    "timed": ("95b79eadf648df3f1efbc04eb49cc5ae", "3c18d797372d69b9", "54375817ac188c71", "3ed009fb91867830"),
    "where": ("2d946b92c83af74ee3865a80f3c826a8", "d5f1d9ed7181275c", "bd31933c294d85c5", "5609fee1d85e9189"),
    "series": ("759769e53af1dfe8b79e5ec6caf46829", "c99c0b43ca774752", "900a3b338044955c", "3567a5c853183c4c"),
    "classes": ("1bfe025b482b648ca08b5afa67a56a82", "8470b583a9a983e7", "731ba494f158d894", "1e6ae4f1e3edc758"),
    "files": ("d228d6ae7867a94123685ff493fd6c50", "43c909448419c6f1", "e3b0c44298fc1c14", "2285b6daf1977b4b"),
}


def golden_source(name: str, folder: Path) -> DatasetSource:
    times = pd.date_range("2020", periods=60, freq="h")
    frame = noise(60, "ab", gaps=0.1).assign(t=times, c=["x", "y"] * 30, k=["u"] * 30 + ["v"] * 30)
    one = write_csv(frame, folder / "f.csv")
    two = write_csv(frame.assign(t=times + pd.Timedelta("60h")), folder / "g.csv")
    return {
        "plain": source_of(one),
        "timed": source_of([one, two], time="t", frequency="1h", calendar=["hour"], missing_flags=True),
        "where": source_of(one, where={"c": "x"}, time="t"),
        "series": source_of(one, series="k", time="t", categorical=["c"], missing="drop"),
        "classes": source_of(one, features=["a"], targets=["c"], horizon=0, classes=True),
        "files": source_of([one, two], series="{file}", time="t", split_by="series", split=[0.5, 0.5, 0]),
    }[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_addresses_samples_and_scales_have_not_changed(tmp_path: Path, name: str) -> None:
    (dataset,) = prepare_all([golden_source(name, tmp_path)], tmp_path)
    manifest, encoding = dataset.manifest, encoded(dataset)[0].encoding
    hashes = (manifest.sha256["train"], manifest.sha256["test"], encoding.sha256())
    assert (manifest.fingerprint, *(each[:16] for each in hashes)) == GOLDEN[name]


def as_version_1(dataset: PreparedDataset, **changes: Any) -> None:
    """Rewrite the manifest as an earlier version wrote it, with these facts."""
    path = dataset.folder / "manifest.json"
    facts = json.loads(path.read_text()) | changes
    del facts["version"], facts["counts"], facts["manifest_sha256"]
    for part in facts["parts"]:
        for key in ("counts", "bits", "steps", "files"):
            del part[key]
    path.write_text(json.dumps(facts))


def again(first: PreparedDataset, folder: Path, **settings: Any) -> bool:
    """Return whether the same dataset is now prepared at another address, and check that the next call agrees."""
    (second,) = prepared(folder, **settings).values()
    assert prepared(folder, **settings)["a"].folder == second.folder
    assert (second.folder == first.folder) == (second.manifest.version == 1)
    return second.folder != first.folder


@pytest.mark.parametrize(("word", "wrong"), [("NA", True), ("None", True), ("north", False)])
def test_rows_that_lack_categories_taken_for_missing(tmp_path: Path, word: str, wrong: bool) -> None:
    write_csv(hours(60, k=["x", word] * 30), tmp_path / "a.csv")
    (first,) = prepared(tmp_path, categorical=["k"]).values()
    as_version_1(first)
    assert again(first, tmp_path, categorical=["k"]) == wrong


def test_rows_of_a_grid_of_dates_taken_for_numbers(tmp_path: Path) -> None:
    frame = hours(60).assign(ts=np.arange(60))
    write_csv(frame, tmp_path / "a.csv")
    (first,) = prepared(tmp_path, frequency=1).values()
    as_version_1(first)
    assert not again(first, tmp_path, frequency=1)
    as_version_1(again_version_2(first, tmp_path), time_span=["20240101", "20240429"])
    assert again(first, tmp_path, frequency=1)


def again_version_2(first: PreparedDataset, folder: Path) -> PreparedDataset:
    for path in first.folder.iterdir():
        path.unlink()
    first.folder.rmdir()
    return prepared(folder, frequency=1)["a"]


@pytest.mark.parametrize("wrong", [False, True])
def test_rows_of_files_in_different_zones(tmp_path: Path, wrong: bool) -> None:
    write_csv(hours(60), tmp_path / "1.csv")
    second = hours(60, "2024-02-01")
    write_csv(second, tmp_path / "2.csv")
    (first,) = prepared(tmp_path).values()
    as_version_1(first)
    assert not again(first, tmp_path)
    if wrong:  # an earlier version joined them
        write_csv(
            second.assign(ts=second["ts"].dt.tz_localize("Asia/Tokyo").map(lambda time: time.isoformat())),
            tmp_path / "2.csv",
        )
        facts = FileNotes(tmp_path / "facts")
        source = source_of([tmp_path / "1.csv", tmp_path / "2.csv"], time="ts", features=["y"], targets=["y"])
        assert right_home(first.folder, source, facts) != first.folder


@pytest.mark.parametrize(("start", "wrong"), [(100_000_008.0, True), (1000.0, False)])
def test_rows_that_lost_their_steps_in_32_bits(tmp_path: Path, start: float, wrong: bool) -> None:
    frame = hours(300).assign(y=start + np.cumsum(np.random.default_rng(0).integers(1, 9, 300)))
    write_csv(frame.assign(y=frame["y"].astype(np.float32)), tmp_path / "rounded.csv")
    write_csv(frame, tmp_path / "a.csv")
    (rounded,) = prepared(tmp_path, "rounded.csv").values()
    (first,) = prepared(tmp_path, "a.csv").values()
    for part in rounded.folder.glob("*.arrow"):
        (first.folder / part.name).write_bytes(part.read_bytes())
    as_version_1(first)
    assert again(first, tmp_path, path="a.csv") == wrong


def test_files_without_a_time_have_another_address_than_as_one_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = noise(60)
    files = [write_csv(frame[:30], tmp_path / "1.csv"), write_csv(frame[30:], tmp_path / "2.csv")]
    dataset = prepare_one(files, tmp_path)
    assert dataset.manifest.num_series == 2
    monkeypatch.setattr("data.prepared.prepare._is_unordered", lambda *_: False)
    assert prepare_one(files, tmp_path / "before").manifest.fingerprint != dataset.manifest.fingerprint


@pytest.mark.parametrize("crossing", [False, True])
def test_series_that_continued_in_the_next_file_without_a_time(tmp_path: Path, crossing: bool) -> None:
    for number, names in enumerate([["x", "y"], ["y", "z"] if crossing else ["v", "w"]]):
        write_csv(noise(60, "y").assign(k=names * 30), tmp_path / f"{number}.csv")
    settings: dict[str, Any] = {"series": "k", "time": None}
    (first,) = prepared(tmp_path, **settings).values()
    as_version_1(first)
    assert again(first, tmp_path, **settings) == crossing
    assert prepared(tmp_path, **settings, split_by="series", split=[0.5, 0, 0.5])["a"].manifest.num_series == 4
