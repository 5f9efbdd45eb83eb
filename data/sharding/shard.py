"""Prepare a large dataset, or one with series across files, in parts: sort, plan, write.

`run` runs tasks, on a cluster or in this process; they return facts and write the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from typing import Any

from data.errors import InputError
from data.reading.read import label_columns
from data.reading.settings import DatasetSource
from data.reading.time_text import format_is_zoned
from data.reading.zones import Clock, ClockSummary, clocks_of
from data.samples.counts import Counts
from data.samples.grid import Grid
from data.samples.ordering import check_length
from data.samples.part import Part
from data.samples.precision import bits_of
from data.sharding.index import SeriesIndex, Tidying, index_series, index_tidied
from data.sharding.loading import check_heads
from data.sharding.parts import Segment, plan_parts, rows_of_part
from data.sharding.pieces import Piece, Survey, cut_file
from data.sharding.runs import Run
from data.sharding.tasks import ClockTask, GridTask, Labels, Outcome, PartTask, SortTask, TidyTask, merge_labels
from data.sharding.tidy import TidyRun, cut_times

RunTasks = Callable[[Sequence[Any]], list[Outcome]]


@dataclass(frozen=True)
class OutputFolders:
    """Where the tasks of a dataset write: runs into a path or URI that all machines reach, parts into a folder."""

    runs: str
    parts: str


def prepare_parts(
    source: DatasetSource,
    surveys: dict[str, Survey],
    folders: OutputFolders,
    run: RunTasks,
    most_rows: int | None = None,
    piece_bytes: int | None = None,
) -> list[Part]:
    """Prepare the dataset and return the facts of its parts, in order; raises InputError with all problems."""
    most_rows = most_rows or rows_of_part(source)
    parts: list[Part] = []
    for files, whole in ((source.files, None), (source.test_files, "test")):
        if files:
            folder = f"{folders.runs}/{whole or 'own'}"
            runs = _sort(source, [surveys[file] for file in files], folder, run, piece_bytes)
            series = _tidy(index_series(runs, source, whole), runs, source, folder, run, most_rows)
            parts += _write(source, series, runs, folders, run, most_rows, len(parts))
    return parts


def _sort(source: DatasetSource, surveys: list[Survey], folder: str, run: RunTasks, piece_bytes: int | None) -> list[Run]:
    pieces = [piece for each in surveys for piece in cut_file(each, piece_bytes)]
    clocks = _clocks(source, pieces, run)
    tasks = [
        SortTask(source, piece, number, folder, clock)
        for number, (piece, clock) in enumerate(zip(pieces, clocks, strict=True))
    ]
    runs: list[Run] = [each for runs_of_piece in _results(run(tasks)) for each in runs_of_piece]
    check_heads([each.head for each in runs], source)
    return runs


def _clocks(source: DatasetSource, pieces: list[Piece], run: RunTasks) -> list[tuple[Clock, ...]]:
    """Return the clocks of the tables of each piece: they resolve repeated hours by the order of the rows of a file.

    No clock is needed if each file is read in one table, or if all times have an offset.
    """
    settings = source.settings
    zoned = settings.time_format is not None and format_is_zoned(settings.time_format)
    if settings.time_zone is None or zoned or all(piece.kind == "file" for piece in pieces):
        return [()] * len(pieces)
    facts: list[list[ClockSummary | None]] = _results(run([ClockTask(source, piece) for piece in pieces]))
    clocks_by_piece = []
    for _, group in groupby(zip(pieces, facts, strict=True), key=lambda each: each[0].file):
        tables = [summaries for _, summaries in group]
        clocks = iter(clocks_of([each for summaries in tables for each in summaries]))
        clocks_by_piece += [tuple(islice(clocks, len(summaries))) for summaries in tables]
    return clocks_by_piece


def _tidy(
    series: list[SeriesIndex], runs: list[Run], source: DatasetSource, folder: str, run: RunTasks, most_rows: int
) -> list[SeriesIndex]:
    """Return the series; the long and untidy ones refer to new sorted runs, which are appended to `runs`."""
    untidy = [each for each in series if each.untidy and each.count > most_rows]
    used = {each.name: {number: runs[number].without_series() for number, _ in each.runs} for each in untidy}
    grids: dict[str, Grid | None] = dict.fromkeys(used)
    if source.settings.grid is not None:
        grid_tasks = [GridTask(source, each, used[each.name]) for each in untidy]
        grids = dict(zip(used, _results(run(grid_tasks)), strict=True))
    tasks = []
    for index, each in enumerate(untidy):
        cuts = cut_times(each, most_rows)
        for number, times in enumerate(pairwise([None, *cuts, None])):
            path = f"{folder}/tidy-{index:05d}-{number:05d}.arrow"
            tasks.append(TidyTask(source, each, used[each.name], grids[each.name], times, path, most_rows))
    tidied: dict[str, list[TidyRun]] = {name: [] for name in used}
    for task, made in zip(tasks, _results(run(tasks)), strict=True):
        tidied[task.series.name] += [made] if made is not None else []
    indexed = []
    for each in series:
        stretches = tidied.get(each.name)
        if stretches is not None:
            numbers = {len(runs) + index: made.run for index, made in enumerate(stretches)}
            runs += [made.run for made in stretches]
            counts = Tidying(grids[each.name], Counts.total(made.counts for made in stretches))
            each = index_tidied(each, numbers, counts, source)
            check_length(each.name, each.count, each.length, runs[-1].head.file, source)
        indexed.append(each)
    return indexed


def _write(
    source: DatasetSource,
    series: list[SeriesIndex],
    runs: list[Run],
    folders: OutputFolders,
    run: RunTasks,
    most_rows: int,
    number: int,
) -> list[Part]:
    plan = plan_parts(series, most_rows)
    bits = bits_of(rows.rounding for each in series for _, rows in each.runs)
    splits = {index: each.split for index, each in enumerate(series) if each.split is not None}

    def tasks(labels: Any) -> list[PartTask]:
        return [
            _part_task(source, number + index, segments, series, runs, folders.parts, splits, labels, bits)
            for index, segments in enumerate(plan)
        ]

    labels: Any = ({}, {})
    if label_columns(source):
        collected: list[Labels] = _results(run(tasks(None)))
        labels = merge_labels(collected, source)
    return _results(run(tasks(labels)))


def _part_task(
    source: DatasetSource,
    number: int,
    segments: list[Segment],
    series: list[SeriesIndex],
    runs: list[Run],
    folder: str,
    splits: dict[int, str],
    labels: Any,
    bits: int,
) -> PartTask:
    series_of_part = {segment.series: series[segment.series] for segment in segments}
    used = {number: runs[number].without_series() for each in series_of_part.values() for number, _ in each.runs}
    splits = {index: splits[index] for index in series_of_part if index in splits}
    return PartTask(source, number, tuple(segments), series_of_part, used, folder, splits, labels, bits)


def _results(outcomes: list[Outcome]) -> list[Any]:
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    if problems:
        raise InputError(dict.fromkeys(problems))
    return [outcome.result for outcome in outcomes]
