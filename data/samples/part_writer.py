"""Prepare one shard as one part: clean its series and write rows and samples as memory-mappable files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.reading.columns import columns_of
from data.reading.read import label_columns, measured_columns, measured_numbers
from data.reading.settings import SPLITS, DatasetSource, DataSettings
from data.samples.counts import MISSING_INPUT, MISSING_TARGET, NO_WEIGHT, SHORT_SERIES, Counts
from data.samples.fill import fill_rows
from data.samples.gaps import longest_run
from data.samples.naive import ForecastErrors, last_known
from data.samples.notes import time_notes, usual_steps
from data.samples.part import Cut, Part
from data.samples.part_files import file_facts, write_samples, write_values
from data.samples.precision import narrow
from data.samples.series import Series, kind_of_time
from data.samples.splits import Bounds, split_by_series, split_in_time, whole_series
from data.samples.static import check_static
from data.samples.statistics import Statistics
from data.samples.stretch import Stretch, StretchSummary, missing_run, steps_of
from data.samples.windows import Windows, find_windows, marks_of

Int64 = npt.NDArray[np.int64]
Rows = npt.NDArray[Any]  # (rows, columns) as stored
Absent = npt.NDArray[np.bool_]  # (rows, measured columns)


def write_part(
    series: Sequence[Series],
    source: DatasetSource,
    folder: Path,
    number: int,
    whole: str | None = None,
    cut: Cut | None = None,
) -> Part:
    """Prepare the series and write them as part `number`; `whole` is the split that all of them belong to.

    For a `cut` dataset, the series are the loaded rows of its stretches.
    """
    series = narrow(series, None if cut is None else cut.bits)
    part_cut = cut or _uncut(series, source, whole)
    writer = _PartWriter(source, part_cut, np.result_type(np.float32, *(each.numbers for each in series)), cut is not None)
    for each, stretch in zip(series, part_cut.stretches, strict=True):
        writer.add(each, stretch)
    part = writer.finish()
    begins = None if cut is None else [stretch.first == 0 for stretch in cut.stretches]
    part.warnings = time_notes(series, source, begins)
    part.steps = usual_steps(series) if cut is None else {}
    paths = [folder / f"{kind}-{number:05d}.arrow" for kind in ("values", "samples")]
    write_values(writer.values, paths[0])
    write_samples(writer.samples, paths[1])
    part.files = {path.name: file_facts(path) for path in paths}
    return part


class _PartWriter:
    """Writes a part, one series or stretch at a time."""

    def __init__(self, source: DatasetSource, cut: Cut, bits: np.dtype[Any], is_cut: bool):
        settings, numeric = source.settings, measured_columns(source)
        self.source, self.settings, self.is_cut = source, settings, is_cut
        self.numeric, self.columns = numeric, columns_of(source)
        self.part = Part(
            missing=dict.fromkeys(numeric, 0),
            longest_gap=dict.fromkeys(numeric, 0),
            train_categories=cut.train_categories,
            categories=cut.categories,
            bits=8 * bits.itemsize,
        )
        self.values: Rows = np.empty((sum(each.stop - each.kept for each in cut.stretches), len(self.columns)), bits)
        self.samples: dict[str, list[tuple[Int64, Int64]]] = {split: [] for split in SPLITS}
        self.statistics = Statistics.empty(len(numeric))
        self.digests = {split: hashlib.sha256() for split in SPLITS}
        self.naive = {split: ForecastErrors(len(settings.targets)) for split in SPLITS[1:]}
        self.left_out = Counter[str]()

    def add(self, series: Series, stretch: Stretch) -> None:
        """Clean the loaded rows of a series, store those of the stretch, and find its samples."""
        check_static(series, self.source)
        part, summary = self.part, StretchSummary(series.name, stretch.first, stretch.length)
        stored = self.values[part.rows : part.rows + stretch.stop - stretch.kept]
        rows, absent = self._fill(series, stretch, stored)
        if absent.any():
            part.holes += int(np.isnan(stored[:, : len(self.settings.features)]).sum())
        self._measure(series, stretch, summary)
        self._find_samples(rows, absent, stretch)
        self._count(series, stretch, absent, summary)
        self._note_times(series, stretch, summary)
        if self.is_cut:
            part.stretches.append(summary)
        part.overlap += stretch.first - stretch.kept
        part.rows += len(stored)

    def _fill(self, series: Series, stretch: Stretch, stored: Rows) -> tuple[Rows, Absent]:
        """Fill the gaps of the loaded rows and copy those to store; returns the rows, and which cells were missing."""
        in_place = len(stored) == len(series)
        rows = stored if in_place else np.empty((len(series), len(self.columns)), self.values.dtype)
        absent = fill_rows(rows, series, stretch.local_bounds, self.source, self.part.categories, stretch)
        if not in_place:
            stored[:] = rows[stretch.stored]
        return rows, absent

    def _count(self, series: Series, stretch: Stretch, absent: Absent, summary: StretchSummary) -> None:
        """Count the rows that belong to a split, and their missing cells."""
        part, used = self.part, slice(stretch.own.start, stretch.own.start + stretch.used)
        part.used_rows += stretch.used
        part.counts = part.counts.plus(_counts_of(series, used, absent, self.settings))
        if absent.any():
            # A dict: a column that is both feature and target is counted once.
            for name, gap in dict(zip(self.numeric, absent[used].T, strict=True)).items():
                part.missing[name] += int(gap.sum())
                part.longest_gap[name] = max(part.longest_gap[name], longest_run(gap))
                summary.missing_runs[name] = missing_run(gap)
        if stretch.first == 0:
            short = stretch.length < self.settings.shortest_history + self.settings.horizon
            part.num_series += 1
            part.num_short += short
            self.left_out[SHORT_SERIES] += short
        part.longest = max(part.longest, (stretch.length, series.name, series.where))

    def _measure(self, series: Series, stretch: Stretch, summary: StretchSummary) -> None:
        """Add the statistics of the train rows, and note their positions."""
        begin, end = stretch.train_span()
        numbers = measured_numbers(series.numbers, self.settings)
        if self.is_cut:
            summary.blocks = stretch.block_statistics(numbers)
        elif stretch.bounds[1]:
            self.statistics = self.statistics.plus(Statistics.of(numbers[: stretch.bounds[1]]))
        if begin < end:
            _add_span(self.part.train_spans, self.part.rows + begin, self.part.rows + end)

    def _find_samples(self, rows: Rows, absent: Absent, stretch: Stretch) -> None:
        """Find the samples of each split, with their hash, naive errors, labels and weights."""
        settings, bound, marks = self.settings, stretch.bounds, marks_of(rows, absent, self.source)
        last = None if settings.horizon == 0 else last_known(rows, self.columns, settings.targets, stretch.before)
        for index, split in enumerate(SPLITS):
            if bound[index] == bound[index + 1]:
                continue
            windows = find_windows(bound, index, settings, marks, stretch if self.is_cut else None)
            self._note_samples(split, rows, windows)
            self.samples[split].append((windows.starts - stretch.stored.start + self.part.rows, windows.lengths))
            if last is not None and index:
                targets, ends = rows[:, -len(settings.targets) :], windows.starts + windows.lengths - 1
                self.naive[split].add(last, targets, ends, settings.horizon)

    def _note_samples(self, split: str, rows: Rows, windows: Windows) -> None:
        starts, ends = windows.starts, windows.starts + windows.lengths
        self.left_out[MISSING_TARGET] += windows.without_target
        self.left_out[MISSING_INPUT] += windows.without_input
        self.left_out[NO_WEIGHT] += windows.without_weight
        if self.settings.weight is not None and split == "train":
            weights = rows[ends - 1, -1 - len(self.settings.targets)]
            self.part.weight += float(weights.sum(dtype=np.float64))
        if self.source.classes:
            _count_labels(self.part, split, rows[ends - 1, -1], self.part.categories[self.settings.targets[0]])
        if len(starts):
            low, high = int(starts.min()), int(ends.max()) + self.settings.horizon
            for array in (rows[low:high], starts - low, windows.lengths):
                self.digests[split].update(array.data if array.flags.c_contiguous else array.tobytes())

    def _note_times(self, series: Series, stretch: Stretch, summary: StretchSummary) -> None:
        if series.times is None:
            return
        part, own_rows, times = self.part, stretch.own, series.times.value
        part.kind_of_time = kind_of_time(series.where, series.times)
        if stretch.used:
            first, last = part.time_span or (2**63 - 1, -(2**63))
            used = times[own_rows.start : own_rows.start + stretch.used]
            part.time_span = (min(first, int(used[0])), max(last, int(used[-1])))
        if self.settings.grid is None and self.is_cut:
            summary.steps = steps_of(times[max(own_rows.start - 1, 0) : own_rows.stop])

    def finish(self) -> Part:
        """Return the part with the sums over its series."""
        part = self.part
        part.counts = part.counts.plus(Counts(windows_left_out=dict(self.left_out)))
        part.statistics = self.statistics.to_json()
        part.samples = {split: sum(len(starts) for starts, _ in self.samples[split]) for split in SPLITS}
        for split, digest in self.digests.items():
            seen = part.train_categories if split == "train" else part.categories
            digest.update(repr(sorted(seen.items())).encode())
            part.sha256[split] = digest.hexdigest()
        part.naive = {split: errors.sums() for split, errors in self.naive.items()} if self.settings.horizon else {}
        return part


def _uncut(series: Sequence[Series], source: DatasetSource, whole: str | None) -> Cut:
    """Return whole series as stretches, for a dataset with one part for each shard."""
    bounds = _bounds(series, source, whole)
    train, every = _categories(series, bounds, source)
    return Cut([Stretch.whole(len(each), bound) for each, bound in zip(series, bounds, strict=True)], train, every)


def _counts_of(each: Series, used: slice, absent: npt.NDArray[np.bool_], settings: DataSettings) -> Counts:
    """Return the counts of the rows of one series, or of the part's stretch of it."""
    count, width = used.stop - used.start, len(settings.features)
    inserted = 0 if each.inserted is None else int(each.inserted[used].sum())
    filled = 0 if settings.missing == "drop" else int(absent[used, :width].sum())
    return each.counts.plus(Counts(rows_used=count - inserted, cells_used=count * width, cells_filled=filled))


def _count_labels(part: Part, split: str, codes: npt.NDArray[Any], names: list[str]) -> None:
    """Count the samples of each class."""
    counts = Counter(part.labels.get(split, {}))
    for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
        counts[names[int(code)]] += int(count)
    part.labels[split] = dict(counts)


def _add_span(spans: list[tuple[int, int]], start: int, stop: int) -> None:
    """Add rows to the spans; adjacent series become one span."""
    if spans and spans[-1][1] == start:
        start = spans.pop()[0]
    spans.append((start, stop))


def _bounds(series: Sequence[Series], source: DatasetSource, whole: str | None) -> list[Bounds]:
    if whole is not None:
        return [whole_series(whole, len(each)) for each in series]
    if source.settings.split_by == "time":
        return [split_in_time(each, source) for each in series]
    assert isinstance(source.settings.split, list)
    parts = split_by_series([each.name for each in series], source.settings.split)
    return [whole_series(parts[each.name], len(each)) for each in series]


def _categories(
    series: Sequence[Series], bounds: list[Bounds], source: DatasetSource
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Number the labels of each column, first those of train rows, so that other rows cannot change their codes."""
    of_train, of_all = {}, {}
    for name in label_columns(source):
        train = {label for each, bound in zip(series, bounds, strict=True) for label in each.labels[name][: bound[1]]}
        every = {label for each in series for label in each.labels[name]}
        of_train[name] = sorted(train - {None})
        of_all[name] = of_train[name] + sorted(every - train - {None})
    return of_train, of_all
