"""Prepare files with whole series: each becomes a part, and is read once."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from data.errors import InputError
from data.reading.files import is_uri
from data.reading.read import ReadTable, read_rows
from data.reading.settings import DatasetSource
from data.reading.table import read_table
from data.samples.part import Part
from data.samples.part_writer import write_part
from data.samples.tell_apart import series_of
from data.sharding.hashed import read_hashed
from data.sharding.writing import writing_to


@dataclass(frozen=True)
class Shard:
    """Files of one dataset with whole series, and the part they become in `folder`, a path or URI."""

    source: DatasetSource
    files: tuple[str, ...]
    folder: str
    number: int
    test: bool = False
    sha256: tuple[str, ...] = ()  # of the files; checked if they are read from an object store


@dataclass(frozen=True)
class ShardResult:
    """The result of a shard: its part and the names of its series, or the problems of its files."""

    part: Part | None
    series: list[str]
    problems: list[str]


def shards_of(source: DatasetSource, folder: str) -> list[Shard]:
    """Return a shard for each file if a column names the series, otherwise one shard for all files."""
    apart = source.settings.series is not None and source.settings.split_by == "time"
    groups = [(file,) for file in source.files] if apart else [source.files]
    shards = [Shard(source, group, folder, number) for number, group in enumerate(groups)]
    if source.test_files:
        shards.append(Shard(source, source.test_files, folder, len(shards), test=True))
    return shards


def merge(shards: Sequence[Shard]) -> list[Shard]:
    """Return one shard for all files, and that of the test files."""
    train = replace(shards[0], files=shards[0].source.files)
    return [train, *(replace(shard, number=1) for shard in shards if shard.test)]


def cross(shards: Sequence[Shard], results: Sequence[ShardResult]) -> bool:
    """Return whether a series has rows in more than one shard."""
    names = [name for shard, result in zip(shards, results, strict=True) if not shard.test for name in result.series]
    return len(names) > len(set(names))


def run_shard(shard: Shard, read: ReadTable = read_table) -> ShardResult:
    """Read, clean and write one shard; problems of its files are returned as messages."""
    problems, files = [], []
    for number, file in enumerate(shard.files):
        try:
            if is_uri(file) and shard.sha256 and read is read_table:
                files.append(read_hashed(file, shard.sha256[number], shard.source))
            else:
                files.append(read_rows(file, shard.source, read=read))
        except InputError as error:
            problems += error.messages
    if problems:
        return ShardResult(None, [], problems)
    names: list[str] = []
    try:
        series = list(series_of(files, shard.source))
        names = [each.name for each in series]
        with writing_to(shard.folder) as folder:
            part = write_part(series, shard.source, folder, shard.number, "test" if shard.test else None)
        return ShardResult(part, names, [])
    except InputError as error:
        return ShardResult(None, names, error.messages)


def run_shards(task: Sequence[Shard]) -> Iterator[ShardResult]:
    """Run shards of the same files one after the other; each file is read once for all of them."""
    read = functools.cache(read_table) if len(task) > 1 else read_table  # a cache takes memory
    for shard in task:
        yield run_shard(shard, read)
