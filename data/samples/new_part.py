"""Prepare new files like the files of the dataset, except that targets may be unknown and nothing is split."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import InputError
from data.reading.columns import columns_of
from data.reading.frequency import Frequency
from data.reading.read import ReadTable, Rows, read_rows
from data.reading.settings import SPLITS, DatasetSource
from data.reading.table import has_column, read_table
from data.samples.ahead import UNKNOWN, times_after
from data.samples.counts import SHARE_TO_WARN_OF
from data.samples.fill import fill_rows
from data.samples.future import end_of_history, known_indices, observed_columns, raise_problems
from data.samples.notes import time_notes
from data.samples.part_files import write_samples, write_values
from data.samples.precision import narrow
from data.samples.series import Series, kind_of_time
from data.samples.splits import whole_series
from data.samples.static import check_static
from data.samples.tell_apart import series_of
from data.samples.windows import Marks, find_windows

Int64 = npt.NDArray[np.int64]
NEW = "test"  # the split of all new rows


@dataclass(frozen=True)
class NewShard:
    """Files with whole series and the part they become; `every` window of a series, or only its last one.

    The times of `ahead` steps after each series are written too.
    """

    source: DatasetSource
    files: tuple[str, ...]
    folder: Path
    number: int
    every: bool
    ahead: int = 0


@dataclass
class NewPart:
    """The facts of a part, or the problems of its files; its rows, windows and times are in files beside it."""

    names: list[str] = field(default_factory=list)  # names of its series
    rows: list[int] = field(default_factory=list)  # of each of them
    samples: int = 0
    holes: int = 0
    categories: dict[str, list[str]] = field(default_factory=dict)
    short: list[str] = field(default_factory=list)  # series with too few rows for a window
    touched: list[str] = field(default_factory=list)  # series without a complete window
    unobserved: list[str] = field(default_factory=list)  # series without an observed target in a window
    cut: list[str] = field(default_factory=list)  # notes on rows removed at the end of a series without observed values
    filled: list[tuple[str, float]] = field(
        default_factory=list
    )  # series, and the share of filled values in its most filled window
    history: list[int] = field(default_factory=list)  # rows of each series up to the last observed one
    unforeseen: list[str] = field(default_factory=list)  # series without a window with a known horizon
    no_future: int = 0  # windows left out because the file lacks the known columns over their horizon
    blind: int = 0  # windows left out because no target is observed
    without_step: list[str] = field(default_factory=list)  # series with unknown next times
    kind_of_time: tuple[str, str] | None = None
    whole_seconds: bool = True
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


RunNew = Callable[[list[list[NewShard]]], list[list[NewPart]]]


def without_targets(source: DatasetSource) -> DatasetSource:
    """Return the source for reading new rows: without targets, a window ending at any row with enough rows before it."""
    return replace(
        source, settings=source.settings.model_copy(update={"horizon": 0, "stride": 1, "weight": None}), classes=False
    )


def write_new_part(
    series: Sequence[Series], source: DatasetSource, folder: Path, number: int, every: bool, ahead: int = 0
) -> NewPart:
    """Prepare the series like those of the dataset, and write them as part `number`; `source` has no targets.

    It also writes the times of all rows, and of `ahead` steps after each series.
    """
    settings = source.settings
    observed, known = observed_columns(settings), known_indices(settings)
    optional = np.isin(settings.features, settings.optional)
    for each in series:
        check_static(each, source)
    ended = [end_of_history(each, settings, ahead) for each in series]
    if not every:
        raise_problems(ended, settings.shortest_history)
    series = narrow([each.series for each in ended])
    part = NewPart([each.name for each in series], [len(each) for each in series], history=[each.history for each in ended])
    for name in settings.categorical:
        part.categories[name] = sorted({label for each in series for label in each.labels[name]} - {None})
    bits = np.result_type(np.float32, *(each.numbers for each in series))
    values = np.empty((sum(part.rows), len(columns_of(source))), bits)
    times = np.empty(len(values) + ahead * len(series), np.int64)
    windows: list[tuple[Int64, Int64]] = []
    offset = 0
    for index, (each, history) in enumerate(zip(series, part.history, strict=True)):
        rows_of_series = slice(offset, offset + len(each))
        absent = fill_rows(values[rows_of_series], each, (0, history, len(each), len(each)), source, part.categories)
        first = offset + ahead * index
        times[first : first + len(each) + ahead] = _times_and_after(each, settings.grid, ahead)
        bad_input = np.any(absent, axis=1) if settings.missing == "drop" else None
        marks = Marks(np.zeros(len(each), bool), bad_input)
        candidates = find_windows(whole_series(NEW, history), SPLITS.index(NEW), settings, marks)
        starts, lengths = candidates.starts, candidates.lengths
        keep = np.full(len(starts), True) if every else starts + lengths == history
        possible = bool(keep.any())
        if known:
            foreseen = _has_future(absent[:, known], starts + lengths, ahead, settings.missing == "drop")
            part.no_future += int((keep & ~foreseen).sum())
            keep &= foreseen
        observed_rows: npt.NDArray[Any] = np.any(~absent[:, observed], axis=1)
        seen = _in_windows(observed_rows, starts, lengths) > 0
        part.blind += int((keep & ~seen).sum())
        # Training has already warned of absent columns.
        counted = absent[:, ~np.logical_and(absent.all(axis=0), optional)]
        shares = _in_windows(counted.sum(axis=1), starts, lengths) / (lengths * max(counted.shape[1], 1))
        foreseeable, possible = bool(keep.any()) or not possible, bool(keep.any())
        keep &= seen
        windows.append((starts[keep] + offset, lengths[keep]))
        if keep.any() and float(shares[keep].max()) > SHARE_TO_WARN_OF:
            part.filled.append((each.name, float(shares[keep].max())))
        if keep.any() and ahead and not known and times[first + len(each)] == UNKNOWN:
            part.without_step.append(each.name)
        if history < settings.shortest_history:
            part.short.append(each.name)
        elif not foreseeable:
            part.unforeseen.append(each.name)
        elif possible and not keep.any():
            part.unobserved.append(each.name)
        elif not keep.any():
            part.touched.append(each.name)
        if each.times is not None:
            part.kind_of_time = kind_of_time(each.where, each.times)
            part.whole_seconds &= bool((each.times.value % 1_000_000 == 0).all())
        offset += len(each)
    part.warnings = time_notes(series, source)
    part.cut = [note for each in ended for note in each.notes]
    part.holes = int(np.isnan(values[:, : len(settings.features)]).sum())
    part.samples = sum(len(starts) for starts, _ in windows)
    write_values(values, folder / f"values-{number:05d}.arrow")
    write_samples({split: windows if split == NEW else [] for split in SPLITS}, folder / f"samples-{number:05d}.arrow")
    np.save(folder / f"times-{number:05d}.npy", times)
    return part


def _times_and_after(each: Series, frequency: Frequency | None, ahead: int) -> Int64:
    """Return the times of the rows of a series and of the steps after it; row numbers without times."""
    if each.times is None:
        return np.arange(len(each) + ahead)
    return np.concatenate([each.times.value, times_after(each.times, frequency, ahead)])


def _has_future(absent: npt.NDArray[np.bool_], ends: Int64, ahead: int, whole: bool) -> npt.NDArray[np.bool_]:
    """Return which windows have `ahead` rows after their last one; `whole`: without a gap."""
    foreseen = ends + ahead <= len(absent)
    if whole:
        gaps = np.concatenate([[0], np.cumsum(absent.any(axis=1))])
        foreseen &= gaps[np.minimum(ends + ahead, len(absent))] == gaps[ends]
    return np.asarray(foreseen)


def _in_windows(marks: npt.NDArray[Any], starts: Int64, lengths: Int64) -> Int64:
    """Return the sum of a mark of each row over the rows of each window."""
    before = np.concatenate([[0], np.cumsum(marks, dtype=np.int64)])
    sums: Int64 = before[starts + lengths] - before[starts]
    return sums


def run_new_shard(shard: NewShard, read: ReadTable = read_table) -> NewPart:
    """Read, clean and write one shard; problems of its files are returned as messages."""
    problems: list[str] = []
    files: list[Rows] = []
    for file in shard.files:
        try:
            files.append(read_rows(file, source_for(shard.source, file), with_targets=False, read=read))
        except InputError as error:
            problems += error.messages
    try:
        if not problems:
            series = list(series_of(files, shard.source))
            return write_new_part(series, shard.source, shard.folder, shard.number, shard.every, shard.ahead)
    except InputError as error:
        problems += error.messages
    return NewPart(problems=problems)


def run_new_task(task: list[NewShard]) -> list[NewPart]:
    """Run shards one after the other."""
    read = functools.cache(read_table)
    return [run_new_shard(shard, read) for shard in task]


def source_for(source: DatasetSource, file: str) -> DatasetSource:
    """Return the source with `where` limited to the columns of a file; a file without them has only rows of the dataset."""
    if not source.where:
        return source
    form = source.settings.file_format
    return replace(source, where={name: value for name, value in source.where.items() if has_column(file, name, form)})
