"""Prepare one shard as one part: clean its series and write rows and samples as memory-mappable files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
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
from data.samples.notes import Steps, time_notes, usual_steps
from data.samples.part_files import file_facts, write_samples, write_values
from data.samples.precision import narrowed
from data.samples.series import Series, kind_of_time
from data.samples.splits import Bounds, split_by_series, split_in_time, whole_series
from data.samples.static import check_static
from data.samples.statistics import Statistics
from data.samples.stretch import Stretch, StretchSummary, missing_run, steps_of
from data.samples.windows import find_windows, marks_of

Float32 = npt.NDArray[np.float32]


@dataclass
class Part:
    """The facts of a part; its rows and samples are in the files values-N.arrow and samples-N.arrow beside it.

    `sha256` covers, for each split, all that its samples can see, wherever the rows stand.
    """

    rows: int = 0
    holes: int = 0  # features that are still missing and wait for Encoding.fill
    num_series: int = 0
    samples: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    statistics: dict[str, list[float | None]] = field(default_factory=dict)
    categories: dict[str, list[str]] = field(default_factory=dict)
    train_categories: dict[str, list[str]] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    longest_gap: dict[str, int] = field(default_factory=dict)  # rows that follow each other in which a column is missing
    used_rows: int = 0  # that belong to a split; the values that are missing are counted there
    time_span: tuple[int, int] | None = None  # of these rows
    naive: dict[str, dict[str, Any]] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    train_spans: list[tuple[int, int]] = field(default_factory=list)
    num_short: int = 0  # series that are shorter than one sample
    longest: tuple[int, str, str] = (0, "", "")  # rows and name of the longest series, and where it was read
    kind_of_time: tuple[str, str] | None = None  # a file and whether its times are dates or numbers
    counts: Counts = field(default_factory=Counts)
    files: dict[str, tuple[int, str]] = field(default_factory=dict)  # bytes and SHA-256 by name
    overlap: int = 0  # rows at its beginning that the part before it has, too
    stretches: list[StretchSummary] = field(default_factory=list)  # what finish puts together; no part of the manifest
    steps: Steps = field(default_factory=dict)
    labels: dict[str, dict[str, int]] = field(default_factory=dict)  # by split: the samples of each class
    bits: int = 32  # of each number; 64 where 32 cannot hold the differences between rows
    weight: float = 0.0  # of all train samples together, where they have weights

    def to_json(self) -> dict[str, Any]:
        """Return the facts by name."""
        return {each.name: getattr(self, each.name) for each in fields(Part) if each.name != "stretches"} | {
            "counts": self.counts.to_json()
        }

    @staticmethod
    def from_json(facts: dict[str, Any]) -> Part:
        """Return what to_json wrote, now or before there were counts."""
        known = {each.name: facts[each.name] for each in fields(Part) if each.name in facts}
        return Part(**known | {"counts": Counts(**facts.get("counts", {}))})


@dataclass(frozen=True)
class Cut:
    """How a dataset was cut into parts: the stretch of each series of this part, and the labels of the whole dataset.

    `bits` of a number are a fact of the whole dataset, too: see data.samples.precision.
    """

    stretches: list[Stretch]
    train_categories: dict[str, list[str]]
    categories: dict[str, list[str]]
    bits: int = 32


def write_part(
    series: Sequence[Series],
    source: DatasetSource,
    folder: Path,
    number: int,
    whole: str | None = None,
    cut: Cut | None = None,
) -> Part:
    """Prepare the series and write them as part `number`; `whole` is the split that all of them belong to, uncut.

    For a `cut` dataset, the series are the loaded rows of its stretches.
    """
    settings, numeric = source.settings, measured_columns(source)
    series = narrowed(series, None if cut is None else cut.bits)
    part = Part(missing=dict.fromkeys(numeric, 0), longest_gap=dict.fromkeys(numeric, 0))
    if cut is None:
        bounds = _bounds(series, source, whole)
        stretches = [Stretch.whole(len(each), bound) for each, bound in zip(series, bounds, strict=True)]
        _collect_categories(part, series, bounds, source)
    else:
        stretches, part.train_categories, part.categories = cut.stretches, cut.train_categories, cut.categories
    kinds = columns_of(source)
    bits = np.result_type(np.float32, *(each.numbers for each in series))
    part.bits = 8 * bits.itemsize
    values = np.empty((sum(stretch.stop - stretch.kept for stretch in stretches), len(kinds)), bits)
    statistics = Statistics.empty(len(numeric))
    digests = {split: hashlib.sha256() for split in SPLITS}
    samples: dict[str, list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]] = {split: [] for split in SPLITS}
    left_out = Counter[str]()
    naive = {split: ForecastErrors(len(settings.targets)) for split in SPLITS[1:]}
    for each, stretch in zip(series, stretches, strict=True):
        check_static(each, source)
        own, stored, bound = stretch.own, stretch.stored, stretch.bounds
        place = values[part.rows : part.rows + stored.stop - stored.start]
        rows = place if len(place) == len(each) else np.empty((len(each), len(kinds)), bits)
        absent = fill_rows(rows, each, stretch.local_bounds, source, part.categories, stretch)
        if rows is not place:
            place[:] = rows[stored]
        used = slice(own.start, own.start + stretch.used)
        part.used_rows += stretch.used
        part.counts = part.counts.plus(_counts_of(each, used, absent, settings))
        facts = StretchSummary(each.name, stretch.first, stretch.length)
        if absent.any():
            for name, gap in dict(zip(numeric, absent[used].T, strict=True)).items():  # once of a feature and a target
                part.missing[name] += int(gap.sum())
                part.longest_gap[name] = max(part.longest_gap[name], longest_run(gap))
                facts.missing_runs[name] = missing_run(gap)
            part.holes += int(np.isnan(place[:, : len(settings.features)]).sum())
        begin, end = stretch.train_span()
        if cut is not None:
            facts.blocks = stretch.block_statistics(measured_numbers(each.numbers, settings))
        elif bound[1]:
            statistics = statistics.plus(Statistics.of(measured_numbers(each.numbers[: bound[1]], settings)))
        if begin < end:
            _add_span(part.train_spans, part.rows + begin, part.rows + end)
        targets = rows[:, -len(settings.targets) :]
        marks = marks_of(rows, absent, source)
        weights = None if settings.weight is None else rows[:, -1 - len(settings.targets)]
        last = None if settings.horizon == 0 else last_known(rows, kinds, settings.targets, stretch.before)
        for index, split in enumerate(SPLITS):
            if bound[index] == bound[index + 1]:
                continue
            found = find_windows(bound, index, settings, marks, None if cut is None else stretch)
            starts, lengths = found.starts, found.lengths
            left_out[MISSING_TARGET] += found.without_target
            left_out[MISSING_INPUT] += found.without_input
            left_out[NO_WEIGHT] += found.without_weight
            if weights is not None and split == "train":
                part.weight += float(weights[starts + lengths - 1].sum(dtype=np.float64))
            samples[split].append((starts - stored.start + part.rows, lengths))
            if source.classes:
                _count_labels(part, split, rows[starts + lengths - 1, -1], part.categories[settings.targets[0]])
            if len(starts):
                low, high = int(starts.min()), int((starts + lengths).max()) + settings.horizon
                for array in (rows[low:high], starts - low, lengths):
                    digests[split].update(array.data if array.flags.c_contiguous else array.tobytes())
            if last is not None and index:
                naive[split].add(last, targets, starts + lengths - 1, settings.horizon)
        if stretch.first == 0:
            part.num_series += 1
            short = stretch.length < settings.shortest_history + settings.horizon
            part.num_short += short
            left_out[SHORT_SERIES] += short
        part.longest = max(part.longest, (stretch.length, each.name, each.where))
        if each.times is not None:
            part.kind_of_time = kind_of_time(each.where, each.times)
            times = each.times.value
            if stretch.used:
                first, last_time = part.time_span or (2**63 - 1, -(2**63))
                part.time_span = (min(first, int(times[used][0])), max(last_time, int(times[used][-1])))
            if settings.grid is None and cut is not None:
                facts.steps = steps_of(times[max(own.start - 1, 0) : own.stop])
        if cut is not None:
            part.stretches.append(facts)
        part.overlap += stretch.first - stretch.kept
        part.rows += len(place)
    part.warnings = time_notes(series, source, None if cut is None else [stretch.first == 0 for stretch in stretches])
    part.steps = usual_steps(series) if cut is None else {}
    part.counts = part.counts.plus(Counts(windows_left_out=dict(left_out)))
    part.statistics = statistics.to_json()
    part.samples = {split: sum(len(starts) for starts, _ in samples[split]) for split in SPLITS}
    for split, digest in digests.items():
        seen = part.train_categories if split == "train" else part.categories
        digest.update(repr(sorted(seen.items())).encode())
        part.sha256[split] = digest.hexdigest()
    part.naive = {split: errors.to_json() for split, errors in naive.items()} if settings.horizon else {}
    paths = [folder / f"{kind}-{number:05d}.arrow" for kind in ("values", "samples")]
    write_values(values, paths[0])
    write_samples(samples, paths[1])
    part.files = {path.name: file_facts(path) for path in paths}
    return part


def _counts_of(each: Series, used: slice, absent: npt.NDArray[np.bool_], settings: DataSettings) -> Counts:
    """Return the counts of the rows of one series, or of those that the part is responsible for."""
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


def _collect_categories(part: Part, series: Sequence[Series], bounds: list[Bounds], source: DatasetSource) -> None:
    """Number the labels of each column, those of the train rows first, so that other rows cannot change their codes."""
    for name in label_columns(source):
        train = {label for each, bound in zip(series, bounds, strict=True) for label in each.labels[name][: bound[1]]}
        every = {label for each in series for label in each.labels[name]}
        part.train_categories[name] = sorted(train - {None})
        part.categories[name] = part.train_categories[name] + sorted(every - train - {None})
