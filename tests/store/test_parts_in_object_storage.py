"""Prepared rows in an object store: tasks write them, and a machine fetches parts into a cache of limited size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attacked import BUCKET
from data_cases import noise, prepare_one, source_of, write_csv
from panels import PANEL, by_time, cut_into_parts, panel, prepared_in, same
from pyarrow import fs
from s3_log import requests

from data.errors import InputError
from data.prepared.cache import PreparedCache
from data.prepared.part_files import DamagedRowsError
from data.prepared.prepared import PreparedDataset
from data.prepared.running import run_here
from data.reading.file_format import FileFormat
from data.reading.files import file_stamp, open_filesystem
from data.sharding.first_look import FIRST_ROWS, first_rows
from data.sharding.tasks import PartTask
from data.writing import upload


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that turns this process into another machine, with another cache folder."""
    return lambda name: monkeypatch.setenv("LSTM_RELAY_CACHE", str(tmp_path / name))


def objects(address: str) -> list[str]:
    filesystem, inner = open_filesystem(address)
    infos = filesystem.get_file_info(fs.FileSelector(inner, recursive=True, allow_not_found=True))
    return sorted(info.path.removeprefix(f"{inner}/") for info in infos if info.type == fs.FileType.File)


@pytest.mark.parametrize("cut", [False, True])
def test_rows_are_written_into_the_store_and_fetched_part_by_part(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Any, cut: bool
) -> None:
    if cut:
        cut_into_parts(monkeypatch, 256)
    address, frame = f"{bucket}/{tmp_path.name}", panel()
    machine("first")
    dataset = prepared_in(address, source_of(by_time(frame, tmp_path), **PANEL))
    assert sorted(file.name for file in dataset.folder.iterdir()) == ["manifest.json", "origin.json"]
    assert (len(dataset.parts) > 3) == cut
    numbers = range(len(dataset.parts))
    expected = [f"{kind}-{number:05d}.arrow" for kind in ("values", "samples") for number in numbers]
    assert objects(f"{address}/prepared") == sorted(f"{dataset.folder.name}/{n}" for n in [*expected, "manifest.json"])
    machine("second")
    fetched = PreparedDataset(PreparedCache(address).fetch(dataset.folder.name), dataset.name, dataset.settings)
    assert not list(fetched.folder.glob("*.arrow"))
    assert len(fetched.parts[0].values)
    assert sorted(file.name for file in fetched.folder.glob("*.arrow")) == ["values-00000.arrow"]
    monkeypatch.undo()
    monkeypatch.setenv("LSTM_RELAY_CACHE", str(tmp_path / "second"))
    same(fetched, prepare_one(write_csv(frame, tmp_path / "all.csv"), tmp_path / "whole", **PANEL))


def test_an_error_leaves_nothing_in_the_store(bucket: str, tmp_path: Path, machine: Any) -> None:
    machine("first")
    address = f"{bucket}/{tmp_path.name}"
    with pytest.raises(InputError, match="no series is as long as one sample"):
        prepared_in(address, source_of(write_csv(noise(20), tmp_path / "f.csv"), lookback=100))
    assert objects(address) == []


def test_an_interrupt_when_all_parts_are_written_leaves_nothing_in_the_store(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Any
) -> None:
    cut_into_parts(monkeypatch, 256)
    machine("first")
    address, written = f"{bucket}/{tmp_path.name}", list[str]()

    def interrupted(tasks: list[list[Any]]) -> list[list[Any]]:
        outcomes = run_here(tasks)
        if isinstance(tasks[0][0], PartTask) and tasks[0][0].labels is not None:
            written.extend(objects(address))
            raise KeyboardInterrupt
        return outcomes

    with pytest.raises(KeyboardInterrupt):
        prepared_in(address, source_of(by_time(panel(2), tmp_path), **PANEL), interrupted)
    assert len([name for name in written if name.endswith(".arrow")]) > 4
    assert objects(address) == []
    assert not list((tmp_path / "first").rglob("*.arrow"))


def test_an_upload_that_is_refused_is_an_error(bucket: str, tmp_path: Path) -> None:
    """Refuse an upload, which PyArrow's copy_files would ignore, leaving an empty object."""
    (tmp_path / "file").write_bytes(b"content")
    filesystem, inner = open_filesystem(f"{bucket}/{tmp_path.name}/file")
    with BUCKET.attacking(f"{bucket}/{tmp_path.name}", 0, "refused"), pytest.raises(OSError, match="ACCESS_DENIED"):
        upload(tmp_path / "file", filesystem, inner)
    assert filesystem.get_file_info(inner).type == fs.FileType.NotFound
    upload(tmp_path / "file", filesystem, inner)
    assert filesystem.get_file_info(inner).size == len(b"content")


def test_damaged_objects_are_not_read_and_a_damaged_copy_is_fetched_again(bucket: str, tmp_path: Path, machine: Any) -> None:
    machine("first")
    address = f"{bucket}/{tmp_path.name}"
    source = source_of(write_csv(noise(400, "ab"), tmp_path / "f.csv"))
    dataset = prepared_in(address, source)
    expected = dataset.parts[0].values.tobytes()
    copy = dataset.folder / "values-00000.arrow"
    content = copy.read_bytes()
    copy.write_bytes(content[:-400] + bytes(400))
    assert prepared_in(address, source).parts[0].values.tobytes() == expected
    filesystem, inner = open_filesystem(f"{address}/prepared/{dataset.folder.name}/values-00000.arrow")
    with filesystem.open_output_stream(inner) as stream:
        stream.write(content[:-400] + bytes(400))
    machine("second")
    with pytest.raises(DamagedRowsError, match="is damaged"):
        _ = PreparedDataset(PreparedCache(address).fetch(dataset.folder.name)).parts[0].values
    again = prepared_in(address, source)  # the store lacks the dataset now
    assert again.parts[0].values.tobytes() == expected


def test_missing_rows_of_the_store_are_prepared_again(bucket: str, tmp_path: Path, machine: Any) -> None:
    address = f"{bucket}/{tmp_path.name}"
    source = source_of(write_csv(noise(400, "ab"), tmp_path / "f.csv"))
    machine("first")
    dataset = prepared_in(address, source)
    filesystem, inner = open_filesystem(f"{address}/prepared/{dataset.folder.name}/values-00000.arrow")
    filesystem.delete_file(inner)
    for name in ("second", "first"):
        machine(name)
        assert len(prepared_in(address, source).parts[0].values) == 400


def test_the_cache_stays_under_its_limit_and_mapped_rows_stay_readable(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: Any
) -> None:
    cut_into_parts(monkeypatch, 256)
    address = f"{bucket}/{tmp_path.name}"
    machine("first")
    name = prepared_in(address, source_of(by_time(panel(), tmp_path), **PANEL)).folder.name
    machine("second")
    whole = [part.values.tobytes() for part in PreparedDataset(PreparedCache(address).fetch(name)).parts]
    cache = tmp_path / "second"
    kept = sum(file.stat().st_size for file in cache.glob("*/prepared/*/*.arrow"))
    monkeypatch.setenv("LSTM_RELAY_CACHE_GB", str(kept / 2 / 1e9))
    machine("third")
    cache, reader = tmp_path / "third", PreparedDataset(PreparedCache(address).fetch(name))
    for number, part in enumerate(reader.parts):
        assert part.values.tobytes() == whole[number]
        assert sum(file.stat().st_size for file in cache.glob("*/prepared/*/*.arrow")) <= kept / 2
    assert [part.values.tobytes() for part in reader.parts] == whole  # the removed ones are mapped
    cached = {file.name for file in reader.folder.glob("values-*")}
    assert f"values-{len(whole) - 1:05d}.arrow" in cached
    assert "values-00000.arrow" not in cached
    assert PreparedDataset(reader.folder).parts[0].values.tobytes() == whole[0]  # and fetched again for others
    monkeypatch.setenv("LSTM_RELAY_CACHE_GB", "much")
    with pytest.raises(InputError, match="LSTM_RELAY_CACHE_GB=much: write a number of gigabytes"):
        _ = PreparedDataset(reader.folder).parts[1].values


def test_objects_are_hashed_as_they_are_read(bucket: str, tmp_path: Path, machine: Any) -> None:
    """Write an object twice within a second, with the same size and time: its rows must be those of the hash."""
    machine("first")
    address, content = f"{bucket}/{tmp_path.name}", noise(400, "ab").to_csv(index=False).encode()
    filesystem, inner = open_filesystem(f"{address}/in/f.csv")
    other = content.replace(b"1.", b"2.", 1)

    def put(new: bytes) -> None:
        with filesystem.open_output_stream(inner) as stream:
            stream.write(new)

    def run(tasks: Any) -> Any:
        put(other)
        return run_here(tasks)

    put(content)
    source = source_of([f"{address}/in/f.csv"])
    cached = PreparedCache(address)
    stamp = file_stamp(f"{address}/in/f.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.prepared.prepare.file_stamp", lambda file: stamp)  # the store's clock is too coarse
        with pytest.raises(InputError, match=r"f\.csv: it was written while it was read"):
            prepared_in(address, source, run)
    put(content)
    dataset = prepared_in(address, source)
    assert dataset.manifest.rows == 400
    assert not list((cached.folder / "sources").glob("*.json"))  # too new: it may still change within the second
    expected = prepare_one(write_csv(noise(400, "ab"), tmp_path / "f.csv"), tmp_path / "whole")
    assert dataset.manifest.fingerprint == expected.manifest.fingerprint


def test_an_error_in_an_object_names_its_address_and_line(bucket: str, tmp_path: Path, machine: Any) -> None:
    machine("first")
    address = f"{bucket}/{tmp_path.name}"
    frame = noise(50, "ab").assign(t=range(50), a="1")
    for value, words in (("broken", "line 32, column 'a'"), (None, "line 32, dataset 'd'")):
        again = frame.copy()
        again.loc[30, "a" if value else "t"] = value or 29
        filesystem, inner = open_filesystem(f"{address}/in/f.csv")
        with filesystem.open_output_stream(inner) as stream:
            stream.write(again.to_csv(index=False).encode())
        with pytest.raises(InputError) as raised:
            prepared_in(address, source_of([f"{address}/in/f.csv"], time="t"))
        assert f"{address}/in/f.csv, {words}" in str(raised.value)


def test_the_first_look_reads_a_small_share_of_a_row_group(bucket: str, tmp_path: Path) -> None:
    noise(600_000, "abcd").to_parquet(tmp_path / "f.parquet", row_group_size=600_000)
    filesystem, inner = open_filesystem(f"{bucket}/{tmp_path.name}/f.parquet")
    fs.copy_files(str(tmp_path / "f.parquet"), inner, destination_filesystem=filesystem)
    begin = len(requests())
    table = first_rows(f"{bucket}/{tmp_path.name}/f.parquet", FileFormat())
    assert len(table) == FIRST_ROWS
    sent = sum(each.sent for each in requests()[begin:])
    assert sent < (tmp_path / "f.parquet").stat().st_size / 2  # 4 MB of it are dictionaries
