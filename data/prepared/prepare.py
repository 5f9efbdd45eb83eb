"""Datasets are prepared concurrently by Ray Data, in one pass over their files; what is prepared already is not read."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pickle
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.prepared.allocator import keep_freed_memory
from data.prepared.cache import hand_over, take_over
from data.prepared.finish import finish
from data.prepared.manifest import FORMAT, MANIFEST, put_in_place, scratch_folder
from data.prepared.mended import right_home
from data.prepared.prepared import PreparedDataset
from data.reading.file_format import stem
from data.reading.files import FileFacts
from data.reading.find import hive_values
from data.reading.read import FILE_AS_SERIES, ReadTable, header_problems, read_rows, wanted_columns
from data.reading.settings import DatasetSource
from data.reading.table import own_column, read_table
from data.samples.part import Part, write_part
from data.samples.tell_apart import series_of

BLOCKS_A_CORE = 3  # of tasks; Ray Data takes 0.2 s to hand out a block, more blocks even out tasks of different sizes


@dataclass(frozen=True)
class Shard:
    """Files of one dataset that hold whole series, and the part that they become."""

    source: DatasetSource
    files: tuple[str, ...]
    folder: Path
    number: int
    test: bool = False


@dataclass(frozen=True)
class ShardResult:
    """What came of a shard: its part and the names of its series, or what is wrong with its files."""

    part: Part | None
    series: list[str]
    problems: list[str]


Run = Callable[[list[list[Shard]]], list[list[ShardResult]]]


def fingerprint(source: DatasetSource, hashes: Mapping[str, Future[str]]) -> str:
    """The hash of what decides the prepared rows and samples: the files' content and the settings, scaling apart."""
    content = {
        "format": FORMAT,
        "settings": source.settings.decisive(),
        "files": [_file_identity(file, source, hashes) for file in source.files],
        "test_files": [_file_identity(file, source, hashes) for file in source.test_files],
        "where": source.where,
        "classes": source.classes,
    }
    if _untimed(source.files, source) or _untimed(source.test_files, source):
        content["untimed"] = [[stem(file) for file in files] for files in (source.files, source.test_files)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _file_identity(file: str, source: DatasetSource, hashes: Mapping[str, Future[str]]) -> list[Any]:
    """What decides the rows of a file: its content, and what its name and its folders add."""
    name = stem(file) if source.settings.series == FILE_AS_SERIES else ""
    numbers, texts = wanted_columns(source)
    named = {column: value for column, value in hive_values(file).items() if column in (*numbers, *texts)}
    added = {column: value for column, value in named.items() if not own_column(file, column, source.settings.file_format)}
    return [hashes[file].result(), name, *([added] if added else [])]


def _untimed(files: tuple[str, ...], source: DatasetSource) -> bool:
    """Whether rows lie in several files that no time puts in order, so that each file is told apart."""
    return source.settings.time is None and len(files) > 1 and source.settings.series != FILE_AS_SERIES


def prepare(
    sources: Sequence[DatasetSource],
    folder: Path,
    facts: FileFacts,
    run: Run,
    fetch: Callable[[str], object] = lambda fingerprint: None,
) -> list[PreparedDataset]:
    """The prepared datasets, in order; those that are not in the folder yet are prepared by `run`, all together.

    `fetch` may bring a dataset into the folder that was prepared elsewhere. Raises InputError with all that is wrong with
    all of them; then nothing is written.
    """
    homes = []
    for source, address in zip(sources, _fingerprints(sources, facts), strict=True):
        fetch(address)
        homes.append(right_home(folder / address, source, facts))
        fetch(homes[-1].name)
    absent = {home: source for home, source in zip(homes, sources, strict=True) if not (home / MANIFEST).exists()}
    if absent:
        problems = header_problems(list(absent.values()))
        if problems:
            raise InputError(problems)
        with scratch_folder(folder) as scratch:
            _prepare_absent(absent, scratch, run)
    facts.save()
    # The folder knows neither the name nor the scaling: they may be others than when it was prepared.
    return [PreparedDataset(home, source.name, source.settings) for home, source in zip(homes, sources, strict=True)]


def _fingerprints(sources: Sequence[DatasetSource], facts: FileFacts) -> list[str]:
    found, problems = [], []
    hashes = facts.content_hashes({file for source in sources for file in (*source.files, *source.test_files)})
    for source in sources:
        try:
            found.append(fingerprint(source, hashes))
        except InputError as error:
            problems += error.messages
    if problems:
        raise InputError(dict.fromkeys(problems))
    return found


def _prepare_absent(absent: dict[Path, DatasetSource], scratch: Path, run: Run) -> None:
    shards = {}
    for home, source in absent.items():
        (scratch / home.name).mkdir()
        shards[home] = _shards_of(source, scratch / home.name)
    results = _run_grouped(shards, run)
    crossing = {home: _merged(shards[home]) for home in absent if _cross(shards[home], results[home])}
    for home in crossing:  # what its shards wrote is not to be kept
        shutil.rmtree(scratch / home.name)
        (scratch / home.name).mkdir()
    results.update(_run_grouped(crossing, run) if crossing else {})
    problems = []
    for home, source in absent.items():
        found = [problem for result in results[home] for problem in result.problems]
        parts = [result.part for result in results[home] if result.part is not None]
        problems += found or finish(source, parts, scratch / home.name, home.name)
    if problems:
        raise InputError(dict.fromkeys(problems))
    for home in absent:
        put_in_place(scratch / home.name, home)


def _shards_of(source: DatasetSource, folder: Path) -> list[Shard]:
    """A shard for each file where series are told apart, else one shard: its files then hold one series together."""
    apart = source.settings.series is not None and source.settings.split_by == "time"
    groups = [(file,) for file in source.files] if apart else [source.files]
    shards = [Shard(source, group, folder, number) for number, group in enumerate(groups)]
    if source.test_files:
        shards.append(Shard(source, source.test_files, folder, len(shards), test=True))
    return shards


def _cross(shards: list[Shard], results: list[ShardResult]) -> bool:
    """Whether a series has rows in more than one shard."""
    names = [name for shard, result in zip(shards, results, strict=True) if not shard.test for name in result.series]
    return len(names) > len(set(names))


def _merged(shards: list[Shard]) -> list[Shard]:
    train = dataclasses.replace(shards[0], files=shards[0].source.files)
    return [train, *(dataclasses.replace(shard, number=1) for shard in shards if shard.test)]


def _run_grouped(shards: dict[Path, list[Shard]], run: Run) -> dict[Path, list[ShardResult]]:
    """Shards of the same files go into one task, so that a file with many datasets in it is read once."""
    tasks: dict[tuple[str, ...], list[tuple[Path, Shard]]] = {}
    for home, group in shards.items():
        for shard in group:
            tasks.setdefault(shard.files, []).append((home, shard))
    outcomes = run([[shard for _, shard in task] for task in tasks.values()])
    found: dict[Path, dict[int, ShardResult]] = {home: {} for home in shards}
    for task, results in zip(tasks.values(), outcomes, strict=True):
        for (home, shard), result in zip(task, results, strict=True):
            found[home][shard.number] = result
    return {home: [found[home][shard.number] for shard in group] for home, group in shards.items()}


def run_shard(shard: Shard, read: ReadTable = read_table) -> ShardResult:
    """Read, clean and write one shard; what is wrong with its files comes back as messages."""
    problems, files = [], []
    for file in shard.files:
        try:
            files.append(read_rows(file, shard.source, read=read))
        except InputError as error:
            problems += error.messages
    if problems:
        return ShardResult(None, [], problems)
    names: list[str] = []
    try:
        series = list(series_of(files, shard.source))
        names = [each.name for each in series]
        part = write_part(series, shard.source, shard.folder, shard.number, "test" if shard.test else None)
        return ShardResult(part, names, [])
    except InputError as error:
        return ShardResult(None, names, error.messages)


def run_task(task: list[Shard]) -> list[ShardResult]:
    """Run shards of the same files one after the other; each file is read once for all of them."""
    read = functools.cache(read_table) if len(task) > 1 else read_table  # what is kept takes memory
    return [run_shard(shard, read) for shard in task]


def run_with_ray(
    tasks: list[list[Any]], passage: str | None = None, work: Callable[[list[Any]], list[Any]] = run_task
) -> list[list[Any]]:
    """Run the shards of each task on the cluster that this process is connected to, by Ray Data.

    Without a `passage` the tasks write where this process reads; else they hand their files over through that address.
    `work` is what is done with a task: a function of a module, as it is sent to other processes by its name.
    """
    import ray
    import ray.data
    from ray.data._internal.execution.resource_manager import ResourceManager

    def run_row(row: dict[str, Any]) -> dict[str, Any]:
        keep_freed_memory()
        task = pickle.loads(row["task"])
        if passage is None:
            return {"number": row["number"], "results": pickle.dumps(work(task))}
        with tempfile.TemporaryDirectory() as scratch:
            own = [dataclasses.replace(shard, folder=Path(scratch) / shard.folder.name) for shard in task]
            for shard in own:
                shard.folder.mkdir(exist_ok=True)
            results = work(own)
            hand_over(Path(scratch), passage)
        return {"number": row["number"], "results": pickle.dumps(results)}

    ray.data.DataContext.get_current().enable_progress_bars = False
    # Ray Data asks each second which cores it may use, and before the first answer it runs one task at a time.
    ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = 0.1  # type: ignore[assignment]
    rows = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
    cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    num_blocks = min(len(rows), BLOCKS_A_CORE * max(cores, 1))
    finished = ray.data.from_items(rows, override_num_blocks=num_blocks).map(run_row).take_all()
    if passage is not None:
        take_over(passage, tasks[0][0].folder.parent)
    in_order = sorted(finished, key=lambda row: row["number"])
    return [pickle.loads(row["results"]) for row in in_order]
