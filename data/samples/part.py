"""One shard of a dataset becomes one part: its series cleaned, their samples found, all of it in memory-mappable files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.reading.columns import calendar_columns, codes_of, columns_of
from data.reading.read import label_columns, number_columns
from data.reading.settings import SPLITS, DatasetSource, DataSettings
from data.samples.counts import MISSING_INPUT, MISSING_TARGET, SHORT_SERIES, Counts
from data.samples.gaps import fill_gaps, longest_run
from data.samples.naive import ForecastErrors, last_known
from data.samples.series import Series, irregular_steps
from data.samples.splits import Bounds, split_by_series, split_in_time, whole_series
from data.samples.statistics import Statistics
from data.samples.windows import find_windows

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

    def to_json(self) -> dict[str, Any]:
        """The facts by name."""
        return asdict(self)

    @staticmethod
    def from_json(facts: dict[str, Any]) -> Part:
        """What to_json wrote, now or before there were counts."""
        known = {each.name: facts[each.name] for each in fields(Part) if each.name in facts}
        return Part(**known | {"counts": Counts(**facts.get("counts", {}))})


def write_part(series: list[Series], source: DatasetSource, folder: Path, number: int, whole: str | None = None) -> Part:
    """Prepare the series and write them as part `number`; `whole` is the split that all of them go into, uncut."""
    settings, numeric = source.settings, number_columns(source)
    bounds = _bounds(series, source, whole)
    part = Part(num_series=len(series), missing=dict.fromkeys(numeric, 0), longest_gap=dict.fromkeys(numeric, 0))
    _collect_categories(part, series, bounds, source)
    kinds = columns_of(source)
    values = np.empty((sum(len(each) for each in series), len(kinds)), np.float32)
    statistics = Statistics.empty(len(numeric))
    digests = {split: hashlib.sha256() for split in SPLITS}
    samples: dict[str, list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]] = {split: [] for split in SPLITS}
    left_out = Counter[str]()
    naive = {split: ForecastErrors(len(settings.targets)) for split in SPLITS[1:]}
    for each, bound in zip(series, bounds, strict=True):
        rows = values[part.rows : part.rows + len(each)]
        absent = fill_rows(rows, each, bound, source, part.categories)
        part.used_rows += bound[3]
        part.counts = part.counts.plus(_counts_of(each, bound, absent, settings))
        if absent.any():
            gaps = absent[: bound[3]]
            for name, gap in dict(zip(numeric, gaps.T, strict=True)).items():  # once where it is a feature and a target
                part.missing[name] += int(gap.sum())
                part.longest_gap[name] = max(part.longest_gap[name], longest_run(gap))
            part.holes += int(np.isnan(rows[:, : len(settings.features)]).sum())
        if bound[1]:
            statistics = statistics.plus(Statistics.of(each.numbers[: bound[1]]))
            _add_span(part.train_spans, part.rows, part.rows + bound[1])
        targets = rows[:, -len(settings.targets) :]
        bad_target = np.any(targets < 0 if source.classes else np.isnan(targets), axis=1)
        bad_input = np.any(absent[:, : len(settings.features)], axis=1) if settings.missing == "drop" else None
        last = None if settings.horizon == 0 else last_known(rows, kinds, settings.targets)
        for index, split in enumerate(SPLITS):
            if bound[index] == bound[index + 1]:
                continue
            found = find_windows(bound, index, settings, bad_input, bad_target)
            starts, lengths = found.starts, found.lengths
            left_out[MISSING_TARGET] += found.without_target
            left_out[MISSING_INPUT] += found.without_input
            samples[split].append((starts + part.rows, lengths))
            if len(starts):
                low, high = int(starts.min()), int((starts + lengths).max()) + settings.horizon
                for array in (rows[low:high], starts - low, lengths):
                    digests[split].update(array.data if array.flags.c_contiguous else array.tobytes())
            if last is not None and index:
                naive[split].add(last, targets, starts + lengths - 1, settings.horizon)
        short = len(each) < settings.shortest_history + settings.horizon
        part.num_short += short
        left_out[SHORT_SERIES] += short
        part.longest = max(part.longest, (len(each), each.name, each.where))
        if each.times is not None:
            part.kind_of_time = (each.where, each.times.kind)
            if bound[3]:
                begin, end = part.time_span or (2**63 - 1, -(2**63))
                times = each.times.value
                part.time_span = (min(begin, int(times[0])), max(end, int(times[bound[3] - 1])))
        warning = None if settings.step else irregular_steps(each)
        if warning and not part.warnings:
            part.warnings.append(warning)
        part.rows += len(each)
    part.counts = part.counts.plus(Counts(windows_left_out=dict(left_out)))
    part.statistics = statistics.to_json()
    part.samples = {split: sum(len(starts) for starts, _ in samples[split]) for split in SPLITS}
    for split, digest in digests.items():
        seen = part.train_categories if split == "train" else part.categories
        digest.update(repr(sorted(seen.items())).encode())
        part.sha256[split] = digest.hexdigest()
    part.naive = {split: errors.to_json() for split, errors in naive.items()} if settings.horizon else {}
    write_values(values, folder / f"values-{number:05d}.arrow")
    write_samples(samples, folder / f"samples-{number:05d}.arrow")
    return part


def _counts_of(each: Series, bound: Bounds, absent: npt.NDArray[np.bool_], settings: DataSettings) -> Counts:
    """What became of the rows of one series."""
    used, width = bound[3], len(settings.features)
    inserted = 0 if each.inserted is None else int(each.inserted[:used].sum())
    filled = 0 if settings.missing == "drop" else int(absent[:used, :width].sum())
    return each.counts.plus(Counts(rows_used=used - inserted, cells_used=used * width, cells_filled=filled))


def _add_span(spans: list[tuple[int, int]], start: int, stop: int) -> None:
    """Add rows to the spans; those of series that follow each other become one."""
    if spans and spans[-1][1] == start:
        start = spans.pop()[0]
    spans.append((start, stop))


def _bounds(series: list[Series], source: DatasetSource, whole: str | None) -> list[Bounds]:
    if whole is not None:
        return [whole_series(whole, len(each)) for each in series]
    if source.settings.split_by == "time":
        return [split_in_time(each, source) for each in series]
    assert isinstance(source.settings.split, list)
    parts = split_by_series([each.name for each in series], source.settings.split)
    return [whole_series(parts[each.name], len(each)) for each in series]


def _collect_categories(part: Part, series: list[Series], bounds: list[Bounds], source: DatasetSource) -> None:
    """Number the labels of each column, those of the train rows first, so that other rows cannot change their codes."""
    for name in label_columns(source):
        train = {label for each, bound in zip(series, bounds, strict=True) for label in each.labels[name][: bound[1]]}
        every = {label for each in series for label in each.labels[name]}
        part.train_categories[name] = sorted(train - {None})
        part.categories[name] = part.train_categories[name] + sorted(every - train - {None})


def fill_rows(
    rows: Float32, each: Series, bounds: Bounds, source: DatasetSource, categories: dict[str, list[str]]
) -> npt.NDArray[np.bool_]:
    """Write the columns of one series (see columns_of) into rows; returns where a number was missing: (rows, numbers)."""
    settings, width = source.settings, len(source.settings.features)
    absent = np.isnan(each.numbers)
    if each.numbers.shape == rows.shape and not absent.any():
        rows[:] = each.numbers  # no other columns, nothing missing: in one piece this takes a third of the time
        return absent
    columns = [fill_gaps(each.numbers[:, :width], bounds, settings.missing)]
    columns += [codes_of(each.labels[name], categories[name])[:, None] for name in settings.categorical]
    if settings.calendar:
        assert each.times is not None
        columns.append(calendar_columns(each.times, settings, f"{each.where}, dataset {source.name!r}"))
    if settings.missing_flags:
        columns.append(absent[:, :width].astype(np.float32))
    if source.classes:
        columns += [codes_of(each.labels[name], categories[name])[:, None] for name in settings.targets]
    elif each.numbers.shape[1] > width:
        columns.append(each.numbers[:, width:])
    else:  # new rows to predict from, whose targets are not known
        columns.append(np.full((len(rows), len(settings.targets)), np.nan, np.float32))
    np.concatenate(columns, axis=1, out=rows)
    return absent


def write_values(values: Float32, path: Path) -> None:
    """Write rows (rows, columns) so that they can be mapped."""
    flat = pa.Array.from_buffers(pa.float32(), values.size, [None, pa.py_buffer(values)])
    column = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    _write([pa.record_batch([column], names=["values"])], path)


def write_samples(samples: Mapping[str, Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]], path: Path) -> None:
    """Write, for each split, the first rows and the lengths of its samples."""
    batches = []
    for split in SPLITS:
        starts = np.concatenate([np.empty(0, np.int64), *(starts for starts, _ in samples[split])])
        lengths = np.concatenate([np.empty(0, np.int64), *(lengths for _, lengths in samples[split])])
        batches.append(pa.record_batch([pa.array(starts), pa.array(lengths.astype(np.int32))], names=["start", "length"]))
    _write(batches, path)


def _write(batches: list[pa.RecordBatch], path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
