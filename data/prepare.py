"""Datasets are prepared concurrently by Ray Data, in one pass over their files; what is prepared already is not read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.columns import columns_of
from data.encoding import robust_quantiles
from data.errors import InputError
from data.files import FileFacts
from data.naive import class_errors, label_errors
from data.part import Part, write_part
from data.prepared import MANIFEST, PreparedDataset
from data.read import FILE_AS_SERIES, check_header, number_columns, read_rows
from data.series import series_of
from data.settings import SPLITS, DatasetSource
from data.statistics import Statistics

FORMAT = 1  # of the prepared folder; a new one prepares everything anew


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


def fingerprint(source: DatasetSource, facts: FileFacts) -> str:
    """The hash of what decides the prepared rows and samples: the files' content and the settings, scaling apart."""
    settings = source.settings.model_dump(mode="json", exclude={"scaling_scope", "scaling"})
    series_names = source.settings.series == FILE_AS_SERIES
    content = {
        "format": FORMAT,
        "settings": settings,
        "robust": source.settings.scaling == "robust",
        "files": [[facts.content_hash(file), file.rpartition("/")[2] if series_names else ""] for file in source.files],
        "test_files": [facts.content_hash(file) for file in source.test_files],
        "where": source.where,
        "classes": source.classes,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def prepare(
    sources: Sequence[DatasetSource],
    folder: Path,
    facts: FileFacts,
    run: Callable[[list[list[Shard]]], list[list[ShardResult]]],
) -> list[PreparedDataset]:
    """The prepared datasets, in order; those that are not in the folder yet are prepared by `run`, all together.

    Raises InputError with all that is wrong with all of them; then no dataset is left half-written.
    """
    homes = [folder / fingerprint(source, facts) for source in sources]
    absent = {home: source for home, source in zip(homes, sources, strict=True) if not (home / MANIFEST).exists()}
    scratch = folder / f".preparing-{uuid.uuid4().hex[:12]}"
    try:
        problems = _prepare_absent(absent, scratch, run) if absent else []
        if problems:
            raise InputError(problems)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    facts.save()
    return [PreparedDataset(home) for home in homes]


def _prepare_absent(
    absent: dict[Path, DatasetSource], scratch: Path, run: Callable[[list[list[Shard]]], list[list[ShardResult]]]
) -> list[str]:
    problems = [problem for source in absent.values() for problem in _header_problems(source)]
    if problems:
        return problems
    shards = {}
    for home, source in absent.items():
        (scratch / home.name).mkdir(parents=True)
        shards[home] = _shards_of(source, scratch / home.name)
    results = _run_grouped(shards, run)
    crossing = {home: _merged(shards[home]) for home in absent if _cross(shards[home], results[home])}
    results.update(_run_grouped(crossing, run) if crossing else {})
    problems = [problem for home in absent for result in results[home] for problem in result.problems]
    for home, source in absent.items():
        parts = [result.part for result in results[home] if result.part is not None]
        if not problems or len(parts) == len(results[home]):
            problems += _finish(source, parts, scratch / home.name, home.name)
    if problems:
        return list(dict.fromkeys(problems))
    for home in absent:
        if not (home / MANIFEST).exists():  # another run may have been faster
            shutil.rmtree(home, ignore_errors=True)
            (scratch / home.name).rename(home)
    return []


def _header_problems(source: DatasetSource) -> list[str]:
    """What can be seen to be wrong without reading the rows, so that it is said before Ray is started."""
    problems = []
    for file in [*source.files, *source.test_files]:
        try:
            check_header(file, source)
        except InputError as error:
            problems += error.messages
    return problems


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


def _run_grouped(
    shards: dict[Path, list[Shard]], run: Callable[[list[list[Shard]]], list[list[ShardResult]]]
) -> dict[Path, list[ShardResult]]:
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


def run_shard(shard: Shard) -> ShardResult:
    """Read, clean and write one shard; what is wrong with its files comes back as messages."""
    problems, files = [], []
    for file in shard.files:
        try:
            files.append(read_rows(file, shard.source))
        except InputError as error:
            problems += error.messages
    if problems:
        return ShardResult(None, [], problems)
    try:
        series = list(series_of(files, shard.source))
        part = write_part(series, shard.source, shard.folder, shard.number, shard.test)
        return ShardResult(part, [each.name for each in series], [])
    except InputError as error:
        return ShardResult(None, [], error.messages)


def run_with_ray(tasks: list[list[Shard]]) -> list[list[ShardResult]]:
    """Run the shards of each task on the cluster that this process is connected to, by Ray Data."""
    import ray.data

    def run_task(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "number": row["number"],
            "results": pickle.dumps([run_shard(shard) for shard in pickle.loads(row["task"])]),
        }

    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
    finished = ray.data.from_items(rows, override_num_blocks=len(rows)).map(run_task).take_all()
    in_order = sorted(finished, key=lambda row: row["number"])
    return [pickle.loads(row["results"]) for row in in_order]


def _finish(source: DatasetSource, parts: list[Part], folder: Path, name: str) -> list[str]:
    """Put the facts of the parts together and write the manifest; returns what is wrong with the dataset as a whole."""
    numeric = number_columns(source)
    statistics = Statistics.pooled((Statistics.from_json(part.statistics) for part in parts), len(numeric))
    samples = {split: sum(part.samples[split] for part in parts) for split in SPLITS}
    problems = _whole_problems(source, statistics, samples)
    if problems:
        return problems
    constant = [column for column, spread in zip(numeric, statistics.deviation, strict=True) if spread == 0]
    warnings = [warning for part in parts for warning in part.warnings]
    warnings += [f"column {column!r} is constant in the train rows and becomes zero" for column in dict.fromkeys(constant)]
    manifest = {
        "format": FORMAT,
        "name": source.name,
        "fingerprint": name,
        "settings": source.settings.model_dump(mode="json"),
        "columns": [dataclasses.asdict(column) for column in columns_of(source)],
        "targets": source.settings.targets,
        "classes": source.classes,
        "horizon": source.settings.horizon,
        "rows": sum(part.rows for part in parts),
        "num_series": sum(part.num_series for part in parts),
        "samples": samples,
        "missing": {column: sum(part.missing[column] for part in parts) for column in numeric},
        "statistics": statistics.to_json(),
        "sha256": {
            split: hashlib.sha256("".join(part.sha256[split] for part in parts).encode()).hexdigest() for split in SPLITS
        },
        "warnings": warnings,
        "parts": [dataclasses.asdict(part) for part in parts],
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    prepared = PreparedDataset(folder)
    manifest["naive"] = _naive_errors(prepared)
    if source.settings.scaling == "robust":
        manifest["quartiles"] = robust_quantiles([prepared]).tolist()
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return []


def _whole_problems(source: DatasetSource, statistics: Statistics, samples: dict[str, int]) -> list[str]:
    settings, place = source.settings, f"dataset {source.name!r} ({', '.join(source.files[:2])})"
    found = []
    for column, count in zip(number_columns(source), statistics.count, strict=True):
        if count == 0:
            role = "target is missing" if column in settings.targets else "column has no value"
            found.append(f"{place}: the {role} everywhere in the train rows, {column!r}: name another, or take earlier rows")
    expected = settings.expected_parts() + (["test"] if source.test_files else [])
    for split in dict.fromkeys(expected):
        if samples[split] == 0 and not found:
            needed = f"lookback {settings.lookback}, horizon {settings.horizon}"
            found.append(
                f"{place}: split = {_show_split(source)} leaves no sample in the {split} part ({needed}): give that part "
                "more rows, or write a shorter lookback or horizon"
            )
    return found


def _show_split(source: DatasetSource) -> str:
    split = source.settings.split
    return str(split) if isinstance(split, list) else str(split.model_dump(exclude_none=True))


def _naive_errors(prepared: PreparedDataset) -> dict[str, dict[str, Any]]:
    """Sums of the naive forecast's errors on validation and test, in the targets' own units."""
    found: dict[str, dict[str, Any]] = {}
    for split in SPLITS[1:]:
        if prepared.classes:
            found[split] = class_errors(prepared.target_labels("train"), prepared.target_labels(split))
        elif prepared.horizon == 0:
            found[split] = label_errors(prepared.target_rows("train"), prepared.target_rows(split))
        else:
            sums = [part["naive"][split] for part in prepared.manifest["parts"]]
            found[split] = {name: np.sum([each[name] for each in sums], axis=0).tolist() for name in sums[0]}
    return found
