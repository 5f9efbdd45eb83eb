"""Prepare datasets concurrently, each in one pass or in sorted parts; prepared datasets are not read again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.prepared.attempt import Attempt, attempt
from data.prepared.finish import finish
from data.prepared.layout import CUT_BYTES, is_cut_at_once, is_worth_cutting, sizes_of
from data.prepared.manifest import FORMAT, MANIFEST, DamagedManifestError, take_away
from data.prepared.mended import right_home
from data.prepared.prepared import PreparedDataset
from data.prepared.running import Run
from data.prepared.shards import Shard, ShardResult, cross, merge, shards_of
from data.reading.file_format import FileFormat, stem
from data.reading.files import FileNotes, file_bytes, file_stamp
from data.reading.find import hive_values
from data.reading.read import FILE_AS_SERIES, header_problems, wanted_columns
from data.reading.settings import DatasetSource
from data.reading.table import file_has_column
from data.samples.part import Part
from data.sharding.first_look import series_cross_files
from data.sharding.hashed import changed_message
from data.sharding.pieces import Survey
from data.sharding.shard import OutputFolders, prepare_parts
from data.sharding.tasks import Outcome, SurveyTask

Surveys = dict[tuple[str, FileFormat], Survey]


def fingerprint(source: DatasetSource, hashes: Mapping[str, Future[str]]) -> str:
    """Return the hash of file contents and settings without scaling, which decide the prepared rows and samples."""
    content = {
        "format": FORMAT,
        "settings": source.settings.decisive(),
        "files": [_file_identity(file, source, hashes) for file in source.files],
        "test_files": [_file_identity(file, source, hashes) for file in source.test_files],
        "where": source.where,
        "classes": source.classes,
    }
    if _is_unordered(source.files, source) or _is_unordered(source.test_files, source):
        content["untimed"] = [[stem(file) for file in files] for files in (source.files, source.test_files)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _file_identity(file: str, source: DatasetSource, hashes: Mapping[str, Future[str]]) -> list[Any]:
    """Return the facts that decide the rows of a file: its content, and the values from its name and folders."""
    name = stem(file) if source.settings.series == FILE_AS_SERIES else ""
    numbers, texts = wanted_columns(source)
    named = {column: value for column, value in hive_values(file).items() if column in (*numbers, *texts)}
    added = {
        column: value for column, value in named.items() if not file_has_column(file, column, source.settings.file_format)
    }
    return [hashes[file].result(), name, *([added] if added else [])]


def _is_unordered(files: tuple[str, ...], source: DatasetSource) -> bool:
    """Return whether there are several files without a time or series column that orders their rows."""
    return source.settings.time is None and len(files) > 1 and source.settings.series is None


def prepare(
    sources: Sequence[DatasetSource],
    folder: Path,
    facts: FileNotes,
    run: Run,
    fetch: Callable[[str], object] = lambda fingerprint: None,
    remote: str | None = None,
) -> list[PreparedDataset]:
    """Return the prepared datasets, in order; those missing from the folder are prepared by `run`, all together.

    `fetch` may bring a dataset that was prepared elsewhere into the folder. `remote` is the URI of prepared datasets if
    the storage is an object store: parts are written there, and the folder gets their manifest. Raises InputError with
    the problems of all datasets; then nothing is written.
    """
    stamps = {file: file_stamp(file) for source in sources for file in (*source.files, *source.test_files)}
    surveys = _survey_unknown(sources, facts, run)
    homes = []
    for source, address in zip(sources, _fingerprints(sources, facts), strict=True):
        fetch(address)
        homes.append(right_home(folder / address, source, facts))
        fetch(homes[-1].name)
        _set_aside_if_damaged(homes[-1])
    absent = {home.name: source for home, source in zip(homes, sources, strict=True) if not (home / MANIFEST).exists()}
    if absent:
        problems = header_problems(list(absent.values()))
        if problems:
            raise InputError(problems)
        files = {file for source in absent.values() for file in (*source.files, *source.test_files)}
        hashes = {file: facts.content_hash(file) for file in files}  # known by now
        with attempt(folder, remote) as made:
            _prepare_absent(absent, made, run, surveys, stamps, hashes)
    facts.save()
    # The folder does not record name and scaling: they may have changed since it was prepared.
    return [PreparedDataset(home, source.name, source.settings) for home, source in zip(homes, sources, strict=True)]


def _fingerprints(sources: Sequence[DatasetSource], facts: FileNotes) -> list[str]:
    addresses, problems = [], []
    hashes = facts.content_hashes({file for source in sources for file in (*source.files, *source.test_files)})
    for source in sources:
        try:
            addresses.append(fingerprint(source, hashes))
        except InputError as error:
            problems += error.messages
    if problems:
        raise InputError(dict.fromkeys(problems))
    return addresses


def _prepare_absent(
    absent: dict[str, DatasetSource],
    made: Attempt,
    run: Run,
    surveys: Surveys,
    stamps: Mapping[str, list[int]],
    hashes: Mapping[str, str],
) -> None:
    sizes = sizes_of(absent.values())
    for address in absent:
        made.begin(address)
    by_file = {
        address: source
        for address, source in absent.items()
        if not is_cut_at_once(source, sizes) and not (is_worth_cutting(source, sizes) and series_cross_files(source))
    }
    shards = {address: shards_of(source, made.parts(address)) for address, source in by_file.items()}
    results = _run_grouped(shards, hashes, run)
    crossing = {address for address in shards if cross(shards[address], results[address])}
    for address in crossing:  # discard the output of its shards
        made.begin(address)
        del results[address]
    joined = {address for address in crossing if not is_worth_cutting(absent[address], sizes)}
    results.update(_run_grouped({address: merge(shards[address]) for address in joined}, hashes, run))
    parts: dict[str, list[Part]] = {}
    wrong: dict[str, list[str]] = {}
    for address, shard_results in results.items():
        wrong[address] = [problem for result in shard_results for problem in result.problems]
        parts[address] = [result.part for result in shard_results if result.part is not None]
    cut = {address: source for address, source in absent.items() if address not in results}
    surveys = surveys | _survey(cut.values(), run, surveys)
    for address, source in cut.items():
        survey_of_file = {file: survey for (file, form), survey in surveys.items() if form == source.settings.file_format}
        folders = OutputFolders(f"{made.address}/runs-{address}", made.parts(address))
        files = (*source.files, *source.test_files)
        wrong[address] = [changed_message(file) for file in files if survey_of_file[file].sha256 != hashes[file]]
        if wrong[address]:
            continue
        try:
            parts[address] = prepare_parts(source, survey_of_file, folders, _single(run))
        except InputError as error:
            wrong[address] = error.messages
    problems = []
    for address, source in absent.items():
        changed = [file for file in (*source.files, *source.test_files) if file_stamp(file) != stamps[file]]
        again = [changed_message(file) for file in changed]
        problems += again or wrong.get(address) or finish(source, parts[address], made.scratch / address, address)
    if problems:
        raise InputError(dict.fromkeys(problems))
    for address in absent:
        made.commit(address)


def _set_aside_if_damaged(home: Path) -> None:
    """Remove a prepared dataset that lacks a part or has changed bytes, so that it is prepared again."""
    try:
        (home / MANIFEST).stat()
        seen = home.stat().st_ino
    except OSError:  # it does not exist, or was just removed
        return
    try:
        whole = PreparedDataset(home).files.problem() is None
    except (DamagedManifestError, ValueError):  # of settings in the manifest, or of origin.json
        whole = False
    if not whole:
        take_away(home, lambda moved: moved.stat().st_ino == seen)


def _single(run: Run) -> Callable[[Sequence[object]], list[Outcome]]:
    """Return a function that runs tasks of one step each."""
    return lambda tasks: [outcome for (outcome,) in run([[task] for task in tasks])] if tasks else []


def _survey_unknown(sources: Sequence[DatasetSource], facts: FileNotes, run: Run) -> Surveys:
    """Have tasks hash files without notes, if they are too large for this process."""
    unknown = [
        replace(source, files=files, test_files=())
        for source in sources
        if (files := tuple(f for f in (*source.files, *source.test_files) if facts.get(f, "sha256") is None))
    ]
    if sum(file_bytes(file) for file in {file for source in unknown for file in source.files}) < CUT_BYTES:
        return {}
    problems = header_problems(unknown)
    if problems:
        raise InputError(problems)
    surveys = _survey(unknown, run, {})
    for (file, _), each in surveys.items():
        facts.put(file, "sha256", each.sha256)
    return surveys


def _survey(sources: Iterable[DatasetSource], run: Run, known: Surveys) -> Surveys:
    every = [(file, source.settings.file_format) for source in sources for file in (*source.files, *source.test_files)]
    files = [file for file in dict.fromkeys(every) if file not in known]
    outcomes = _single(run)([SurveyTask(*file) for file in files])
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    if problems:
        raise InputError(dict.fromkeys(problems))
    surveys = [outcome.result for outcome in outcomes]
    return {file: each for file, each in zip(files, surveys, strict=True) if isinstance(each, Survey)}


def _run_grouped(shards: dict[str, list[Shard]], hashes: Mapping[str, str], run: Run) -> dict[str, list[ShardResult]]:
    """Put shards of the same files into one task, so that a file with many datasets is read once."""
    tasks: dict[tuple[str, ...], list[tuple[str, Shard]]] = {}
    for address, group in shards.items():
        for shard in group:
            known = replace(shard, sha256=tuple(hashes[file] for file in shard.files))
            tasks.setdefault(shard.files, []).append((address, known))
    outcomes = run([[shard for _, shard in task] for task in tasks.values()]) if tasks else []
    results_by_number: dict[str, dict[int, ShardResult]] = {address: {} for address in shards}
    for task, results in zip(tasks.values(), outcomes, strict=True):
        for (address, shard), result in zip(task, results, strict=True):
            results_by_number[address][shard.number] = result
    return {address: [results_by_number[address][shard.number] for shard in group] for address, group in shards.items()}
