"""The tasks of a cut dataset: survey a file, sort a piece into runs, collect the labels of a part, write a part.

Each is a function from a frozen task to facts, run by Ray Data or in this process. Problems of the data are returned as
messages, so that all of them are reported together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from data.errors import InputError
from data.reading.file_format import FileFormat
from data.reading.read import label_columns
from data.reading.settings import DatasetSource
from data.reading.zones import Clock, ClockSummary, clock_summary
from data.samples.grid import Grid
from data.samples.part import Cut, Part
from data.samples.part_writer import write_part
from data.samples.series import Series
from data.samples.splits import split_in_time, whole_series
from data.samples.stretch import Stretch
from data.sharding.index import SeriesIndex
from data.sharding.loading import Open, load_stretch, whole_series_of
from data.sharding.parts import Segment
from data.sharding.pieces import Piece, Survey, read_piece, survey
from data.sharding.runs import Run, RunReader, write_run
from data.sharding.tidy import TidyRun, find_grid, tidy
from data.sharding.writing import writing_to

Labels = dict[str, tuple[set[str], set[str]]]  # of each label column: labels of train rows, labels of all rows


@dataclass(frozen=True)
class SurveyTask:
    """A file to hash and to find cuts in."""

    file: str
    form: FileFormat


@dataclass(frozen=True)
class ClockTask:
    """A piece to examine for repeated hours in its local times."""

    source: DatasetSource
    piece: Piece


@dataclass(frozen=True)
class SortTask:
    """A piece that becomes runs in `folder`, a path or URI; `clocks` has one for each of its tables, or none."""

    source: DatasetSource
    piece: Piece
    number: int
    folder: str
    clocks: tuple[Clock, ...] = ()


@dataclass(frozen=True)
class PartTask:
    """A part: its segments, their series, and the runs with the rows of these.

    `splits` has the split of each series where whole series are assigned to splits. Without `labels` the part's labels are
    collected, with them it is written into `folder`.
    """

    source: DatasetSource
    number: int
    segments: tuple[Segment, ...]
    series: dict[int, SeriesIndex]
    runs: dict[int, Run]
    folder: str
    splits: dict[int, str] = field(default_factory=dict)
    labels: tuple[dict[str, list[str]], dict[str, list[str]]] | None = None
    bits: int = 32


@dataclass(frozen=True)
class GridTask:
    """A series with rows off its grid, which is to be determined; `runs` have the rows."""

    source: DatasetSource
    series: SeriesIndex
    runs: dict[int, Run]


@dataclass(frozen=True)
class TidyTask:
    """The rows of a series between two times, that become a run in order at `path`: see data.sharding.tidy."""

    source: DatasetSource
    series: SeriesIndex
    runs: dict[int, Run]
    grid: Grid | None
    times: tuple[int | None, int | None]
    path: str
    most_rows: int


Task = SurveyTask | ClockTask | SortTask | GridTask | TidyTask | PartTask


@dataclass(frozen=True)
class Outcome:
    """The result of a task, or the problems of the data."""

    result: Survey | list[ClockSummary | None] | list[Run] | Grid | TidyRun | Labels | Part | None
    problems: list[str]


def run_task(task: Task) -> Outcome:
    """Run the task; problems of the data are returned, all other errors raised."""
    try:
        if isinstance(task, SurveyTask):
            return Outcome(survey(task.file, task.form), [])
        if isinstance(task, ClockTask):
            return Outcome(list(_clocks(task)), [])
        if isinstance(task, SortTask):
            return Outcome(list(_sort_piece(task)), [])
        with _readers(task) as read:
            if isinstance(task, GridTask):
                return Outcome(find_grid(task.series, task.source, read), [])
            if isinstance(task, TidyTask):
                return Outcome(_tidy_stretch(task, read), [])
            return Outcome(_labels(task, read) if task.labels is None else _part(task, read), [])
    except InputError as error:
        return Outcome(None, error.messages)


def _clocks(task: ClockTask) -> Iterator[ClockSummary | None]:
    """Return the facts of the local times of each table; times with an offset are unambiguous."""
    settings = task.source.settings
    changes: dict[str, object] = {"features": [], "targets": [], "categorical": [], "time_zone": None}
    times_only = replace(task.source, settings=settings.model_copy(update=changes))
    for rows in read_piece(task.piece, times_only, like=task.source):
        assert rows.times is not None
        keys = None if rows.series is None else np.array(rows.series.to_pylist(), object)
        local = rows.times.value[:0] if rows.times.zoned or rows.times.kind == "number" else rows.times.value
        yield clock_summary(local, str(settings.time_zone), keys)


def _sort_piece(task: SortTask) -> Iterator[Run]:
    for table, rows in enumerate(read_piece(task.piece, task.source, task.clocks)):
        path = f"{task.folder}/run-{task.number:05d}-{table:05d}.arrow"
        yield write_run(rows, task.source, task.piece, table, path)


@contextmanager
def _readers(task: GridTask | TidyTask | PartTask) -> Iterator[Open]:
    opened: dict[int, RunReader] = {}

    def read(number: int) -> RunReader:
        if number not in opened:
            opened[number] = RunReader(task.runs[number], task.source)
        return opened[number]

    try:
        yield read
    finally:
        for reader in opened.values():
            reader.close()


def _tidy_stretch(task: TidyTask, read: Open) -> TidyRun | None:
    return tidy(task.series, task.grid, task.times, task.source, read, task.path, task.most_rows)


def _load(task: PartTask, read: Open) -> Iterator[tuple[Series, Stretch]]:
    for segment in task.segments:
        index = task.series[segment.series]
        if segment.stop is None:
            series = whole_series_of(index, task.source, read)
            split = task.splits.get(segment.series)
            bounds = split_in_time(series, task.source) if split is None else whole_series(split, len(series))
            yield series, Stretch.whole(len(series), bounds)
        else:
            yield load_stretch(index, segment.first, segment.stop, task.source, read, task.bits)


def _labels(task: PartTask, read: Open) -> Labels:
    labels: Labels = {name: (set(), set()) for name in label_columns(task.source)}
    for series, stretch in _load(task, read):
        train = max(stretch.train_span()[1] + stretch.kept - stretch.start, 0)
        for name, (seen, every) in labels.items():
            seen.update(series.labels[name][stretch.own.start : train])
            every.update(series.labels[name][stretch.own])
    return {name: (seen - {None}, every - {None}) for name, (seen, every) in labels.items()}


def _part(task: PartTask, read: Open) -> Part:
    assert task.labels is not None
    loaded = list(_load(task, read))
    cut = Cut([stretch for _, stretch in loaded], *task.labels, task.bits)
    with writing_to(task.folder) as folder:
        return write_part([series for series, _ in loaded], task.source, folder, task.number, cut=cut)


def merge_labels(
    labels_of_parts: Sequence[Labels], source: DatasetSource
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the labels of all parts: those of train rows, sorted, and all, those of train rows first."""
    train: dict[str, list[str]] = {}
    every: dict[str, list[str]] = {}
    for name in label_columns(source):
        seen = {label for labels in labels_of_parts for label in labels[name][0]}
        train[name] = sorted(seen)
        every[name] = train[name] + sorted({label for labels in labels_of_parts for label in labels[name][1]} - seen)
    return train, every
