"""Rows become series: told apart, sorted by time, on a regular grid where a frequency is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.errors import InputError
from data.reading.files import stem
from data.reading.read import FILE_AS_SERIES, Rows
from data.reading.settings import DatasetSource
from data.reading.times import Times, show_time
from data.samples.counts import Counts


@dataclass(frozen=True)
class Series:
    """One series in time order: numbers (rows, columns) with NaN where missing, labels None where missing.

    `inserted` marks the rows that the files do not have; None: there is none. `counts` says what became of the rows read.
    """

    name: str
    numbers: npt.NDArray[np.float32]
    labels: dict[str, npt.NDArray[np.object_]]
    times: Times | None
    where: str = ""
    inserted: npt.NDArray[np.bool_] | None = None
    counts: Counts = field(default_factory=Counts)

    def __len__(self) -> int:
        return len(self.numbers)


def series_of(files: Sequence[Rows], source: DatasetSource) -> Iterator[Series]:
    """The series of some files, by name; the rows of one series may come from several files."""
    settings = source.settings
    if settings.series is None and not sum(len(rows.numbers) for rows in files):
        held = " and ".join(f"{column} = {value!r}" for column, value in source.where.items())
        raise InputError(f"{files[0].file}, dataset {source.name!r}: no row has {held}: take the file out of the path")
    if settings.series is None:
        yield _in_order(_joined(files, source.name), source, files)
        return
    if settings.series == FILE_AS_SERIES:
        for name in sorted({stem(rows.file) for rows in files}):
            own = [rows for rows in files if stem(rows.file) == name]
            yield _in_order(_joined(own, name), source, own)
        return
    whole = _joined(files, source.name)
    keys = [rows.series for rows in files if rows.series is not None]
    found = (
        pa.chunked_array([chunk for key in keys for chunk in key.chunks], pa.string()).combine_chunks().dictionary_encode()
    )
    names, codes = np.unique(np.asarray(found.dictionary.to_pylist(), dtype=str), return_inverse=True)
    codes = codes[found.indices.to_numpy()]
    if np.all(np.diff(codes) >= 0):
        order: npt.NDArray[np.intp] | None = None  # already together, as in most files: no copy
    else:
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
    starts = np.searchsorted(codes, np.arange(len(names) + 1))
    for name, start, stop in zip(names, starts[:-1], starts[1:], strict=True):
        rows = slice(start, stop) if order is None else order[start:stop]
        yield _in_order(replace(_take(whole, rows), name=str(name)), source, files)


def _joined(files: Sequence[Rows], name: str) -> Series:
    """The rows of some files one after the other."""
    labels = {key: [label for rows in files for label in rows.labels[key]] for key in files[0].labels}
    return Series(
        name=name,
        numbers=files[0].numbers if len(files) == 1 else np.concatenate([rows.numbers for rows in files]),
        labels={key: np.asarray(values, dtype=object) for key, values in labels.items()},
        times=_joined_times(files),
        where=files[0].file if len(files) == 1 else f"{files[0].file} and {len(files) - 1} more",
    )


def _joined_times(files: Sequence[Rows]) -> Times | None:
    timed = [(rows.file, rows.times) for rows in files if rows.times is not None]
    if not timed:
        return None
    timed = [(file, times) for file, times in timed if len(times.value)] or timed[:1]  # no row, no kind
    check_kinds_of_time([(file, times.kind) for file, times in timed])
    return Times(np.concatenate([times.value for _, times in timed]), timed[0][1].kind)


def check_kinds_of_time(kinds: Sequence[tuple[str, str]]) -> None:
    """Raise InputError unless all files (file, kind of its times) have dates, or all have numbers."""
    for file, kind in kinds:
        if kind != kinds[0][1]:
            raise InputError(
                f"{file}: its times are {kind}s, those of {kinds[0][0]} are {kinds[0][1]}s: write the same kind in all files"
            )


def _take(series: Series, rows: slice | npt.NDArray[np.intp]) -> Series:
    times = None if series.times is None else Times(series.times.value[rows], series.times.kind)
    labels = {name: values[rows] for name, values in series.labels.items()}
    return replace(series, numbers=series.numbers[rows], labels=labels, times=times)


def _in_order(series: Series, source: DatasetSource, files: Sequence[Rows]) -> Series:
    series = replace(series, counts=Counts(rows_read=len(series)))
    if series.times is None:
        return series
    value, kind = series.times.value, series.times.kind
    if np.any(np.diff(value) < 0):
        order = np.argsort(value, kind="stable")
        series, value = _take(series, order), value[order]
    same = np.flatnonzero(np.diff(value) == 0)
    if len(same):
        hint = "keep one row of each time"
        if source.settings.series in (None, FILE_AS_SERIES):
            hint += ", or, where the rows are those of several series, name the column that tells them apart in series"
        again, first, zone = _twice(files, series.name if files[0].series is not None else None, value[same[0]])
        raise InputError(
            f"{again}, dataset {source.name!r}, series {series.name!r}: the time {show_time(value[same[0]], kind)}{zone} "
            f"stands in {first} already: {hint}"
        )
    return series if source.settings.step is None else _on_grid(series, source, source.settings.step)


def _twice(files: Sequence[Rows], series: str | None, time: int) -> tuple[str, str, str]:
    """Where a time stands for the second time in a series, and for the first, and what zone it is told in."""
    found = []
    for rows in files:
        if rows.times is None:
            continue
        held = rows.times.value == time
        if series is not None and rows.series is not None:
            held &= np.asarray(pc.equal(rows.series, series).fill_null(False))
        found += [(rows, int(row)) for row in np.flatnonzero(held)[:2]]
    (first, before), (second, after) = found[:2]
    before_file = first.places.at(before)
    if first.file == second.file:
        before_file = before_file.removeprefix(f"{first.file}, ")
    return second.places.at(after), before_file, " UTC" if second.times is not None and second.times.zoned else ""


def _on_grid(series: Series, source: DatasetSource, step: int) -> Series:
    """Insert the absent steps as missing rows."""
    assert series.times is not None
    value, kind = series.times.value, series.times.kind
    if isinstance(source.settings.frequency, str) != (kind == "date"):
        wanted = '"1h"' if kind == "date" else "1"
        raise InputError(
            f"{series.where}, dataset {source.name!r}: frequency = {source.settings.frequency!r} does not fit its times, "
            f"which are {kind}s such as {show_time(value[0], kind)}: write one like {wanted}"
        )
    place, rest = np.divmod(value - value[0], step)
    off = np.flatnonzero(rest)
    if len(off):
        raise InputError(
            f"{series.where}, dataset {source.name!r}, series {series.name!r}: the time {show_time(value[off[0]], kind)} is "
            f"not a whole number of steps of {source.settings.frequency} after {show_time(value[0], kind)}: correct it, or "
            "leave frequency out"
        )
    length = int(place[-1]) + 1
    if length == len(value):
        return series
    if length > 1000 * len(value):
        raise InputError(
            f"{series.where}, dataset {source.name!r}, series {series.name!r}: on a grid of {source.settings.frequency} its "
            f"{len(value)} rows would become {length}: check frequency and the times"
        )
    numbers = np.full((length, series.numbers.shape[1]), np.nan, np.float32)
    numbers[place] = series.numbers
    labels = {}
    for name, values in series.labels.items():
        labels[name] = np.full(length, None, dtype=object)
        labels[name][place] = values
    grid = value[0] + step * np.arange(length, dtype=np.int64)
    inserted = np.ones(length, bool)
    inserted[place] = False
    counts = series.counts.plus(Counts(rows_inserted=int(inserted.sum())))
    return replace(series, numbers=numbers, labels=labels, times=Times(grid, kind), inserted=inserted, counts=counts)


def irregular_steps(series: Series) -> str | None:
    """A warning where the steps of time are not all the same, or None."""
    if series.times is None or len(series) < 3:
        return None
    steps = np.diff(series.times.value)
    usual = int(np.median(steps))
    odd = np.flatnonzero(steps != usual)
    if not len(odd):
        return None
    first = show_time(series.times.value[odd[0] + 1], series.times.kind)
    return (
        f"series {series.name!r}: {len(odd)} of {len(steps)} steps of time differ from the usual one, first before {first}; "
        "rows are taken as they come; write frequency to insert the absent ones"
    )
