"""Load a stretch of a series, merged from its runs, and the observed values around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.reading.read import Rows, number_columns
from data.reading.settings import DatasetSource
from data.samples.counts import Counts
from data.samples.ordering import with_all_steps
from data.samples.series import Series, check_kinds_of_time, kind_of_time
from data.samples.stretch import Edge, Stretch
from data.samples.tell_apart import series_of
from data.sharding.index import SeriesIndex
from data.sharding.marks import last_mark, rows_before
from data.sharding.runs import RunReader, part_of

Int64 = npt.NDArray[np.int64]
Open = Callable[[int], RunReader]  # the reader of a run by its number
ROWS_TO_LOOK_AT = 65536  # at a time, in search of the nearest observed value


def whole_series_of(index: SeriesIndex, source: DatasetSource, read: Open) -> Series:
    """Return a whole series, sorted and placed on its grid."""
    rows = [read(number).read(index.name, run.start, run.stop) for number, run in index.runs]
    if index.tidied is not None and index.tidied.grid is not None:  # only the absent steps remain to be inserted
        source_as_is = replace(source, settings=source.settings.model_copy(update={"frequency": None}))
        (ordered,) = series_of(rows, source_as_is)
        series, grid = replace(ordered, counts=index.tidied.counts), index.tidied.grid
        assert series.times is not None
        return with_all_steps(series, grid.steps(series.times.value), grid, source)
    (series,) = series_of(rows if index.origin is not None else [_concatenate(rows)], source)
    return series


def _concatenate(rows: Sequence[Rows]) -> Rows:
    """Return the rows of the tables of one file as one table; they have no times."""
    labels = {name: [label for each in rows for label in each.labels[name]] for name in rows[0].labels}
    keys = [each.series for each in rows if each.series is not None]
    series = pa.chunked_array([chunk for each in keys for chunk in each.chunks], pa.string()) if keys else None
    return replace(rows[0], numbers=np.concatenate([each.numbers for each in rows]), labels=labels, series=series)


def load_stretch(
    index: SeriesIndex, first: int, stop: int, source: DatasetSource, read: Open, bits: int = 32
) -> tuple[Series, Stretch]:
    """Return the rows `first` to `stop` of a series that may be cut, with the rows around them that their samples need.

    The values around them are rounded to `bits`, like those of the dataset.
    """
    assert index.bounds is not None
    settings = source.settings
    assert isinstance(settings.lookback, int)
    kept = max(first - (settings.lookback + settings.horizon - 1), 0)
    start = min(kept, max(first - 1, 0))
    stretch = Stretch(index.length, index.bounds, first, stop, kept, start)
    end = min(stretch.ends_at(), index.length)
    series = load_rows(index, start, end, source, read)
    own_slice = slice(first - start, stop - start)
    inserted = 0 if series.inserted is None else int(series.inserted[own_slice].sum())
    counts = Counts(rows_read=stop - first - inserted, rows_inserted=inserted)
    if index.tidied is not None and first == 0:  # merged rows are counted once
        merged = index.tidied.counts.rows_duplicate
        counts = counts.plus(replace(index.tidied.counts, rows_read=merged))
    series = replace(series, counts=counts)
    if settings.missing in ("interpolate", "forward") or settings.horizon:
        missing = np.isnan(series.numbers)
        before = _nearest(index, start, missing[0], -1, 0, source, read)
        limit = min((bound for bound in index.bounds if bound >= end), default=index.length)
        wanted = missing[-1] if settings.missing == "interpolate" else np.zeros(missing.shape[1], bool)
        after = _nearest(index, end, wanted, 1, limit, source, read)
        stretch = replace(stretch, before=before.round_to(bits), after=after.round_to(bits))
    return series, stretch


def load_rows(index: SeriesIndex, start: int, stop: int, source: DatasetSource, read: Open) -> Series:
    """Return the rows `start` to `stop` of a series that may be cut, in time order and on its grid."""
    if index.origin is None:
        rows, offset = _by_number(index, start, stop, read), start
    elif index.step is not None:
        low = index.origin + index.step * start
        rows, offset = rows_between(index, low, index.origin + index.step * stop, read), 0
    else:
        rows, offset = _by_rank(index, start, stop, read)
    series = _join(index, rows, source, read)
    if index.step is not None:
        return _on_grid(series, index, start, stop)
    cut = slice(start - offset, stop - offset)
    times = None if series.times is None else replace(series.times, value=series.times.value[cut])
    labels = {name: values[cut] for name, values in series.labels.items()}
    return replace(series, numbers=series.numbers[cut], labels=labels, times=times)


def _join(index: SeriesIndex, rows: list[Rows], source: DatasetSource, read: Open) -> Series:
    """Return the rows of all runs in time order; raises InputError if a time appears twice."""
    rows = [each for each in rows if len(each.numbers)]
    if not rows:  # a stretch of a gap
        like = read(index.runs[0][0]).run.head
        times = None if like.times is None else replace(like.times, value=like.times.value[:0])
        return Series(index.name, like.numbers[:0], {name: np.empty(0, object) for name in like.labels}, times)
    if index.origin is None:
        rows = [_concatenate(rows)]
    settings = source.settings.model_copy(update={"frequency": None})
    (series,) = series_of(rows, replace(source, settings=settings))
    return series


def _on_grid(series: Series, index: SeriesIndex, start: int, stop: int) -> Series:
    """Return the steps `start` to `stop` of the grid; those without a row are inserted as missing."""
    assert series.times is not None
    assert index.origin is not None
    assert index.step is not None
    step = (series.times.value - index.origin) // index.step - start
    length = stop - start
    grid = replace(series.times, value=index.origin + index.step * np.arange(start, stop, dtype=np.int64))
    if len(step) == length:
        return replace(series, times=grid)
    numbers = np.full((length, series.numbers.shape[1]), np.nan, series.numbers.dtype)
    numbers[step] = series.numbers
    labels = {}
    for name, values in series.labels.items():
        labels[name] = np.full(length, None, dtype=object)
        labels[name][step] = values
    inserted = np.ones(length, bool)
    inserted[step] = False
    return replace(series, numbers=numbers, labels=labels, times=grid, inserted=inserted)


def _by_number(index: SeriesIndex, start: int, stop: int, read: Open) -> list[Rows]:
    """Return the rows of a series without times: run after run."""
    tables, offset = [], 0
    for number, run in index.runs:
        low, high = max(start - offset, 0), min(stop - offset, run.stop - run.start)
        if low < high:
            tables.append(read(number).read(index.name, run.start + low, run.start + high))
        offset += run.stop - run.start
    return tables


def rows_between(index: SeriesIndex, low: int, high: int, read: Open) -> list[Rows]:
    """Return the rows with a time from `low` to before `high`."""
    tables = []
    for number, run in index.runs:
        start, stop = rows_before(run, low)[0], rows_before(run, high)[1]
        if start < stop:
            rows = read(number).read(index.name, run.start + start, run.start + stop)
            assert rows.times is not None
            tables.append(part_of(rows, *np.searchsorted(rows.times.value, [low, high]).tolist()))
    return tables


def _by_rank(index: SeriesIndex, start: int, stop: int, read: Open) -> tuple[list[Rows], int]:
    """Return rows that include the rows `start` to `stop` by time, and how many rows are earlier than the first of them.

    The marks of the runs give the times that enclose them; only the rows between these are read.
    """
    marks = np.unique(np.concatenate([run.marks for _, run in index.runs]))
    low = last_mark(marks, lambda time: sum(rows_before(run, time)[1] for _, run in index.runs) <= start)
    high = last_mark(marks, lambda time: sum(rows_before(run, time)[0] for _, run in index.runs) < stop) + 1
    least = int(marks[low]) if low >= 0 else None
    most = int(marks[high]) if high < len(marks) else None
    tables, earlier = [], 0
    for number, run in index.runs:
        first = 0 if least is None else rows_before(run, least)[0]
        last = run.stop - run.start if most is None else rows_before(run, most)[1]
        if first >= last:
            earlier += first
            continue
        rows = read(number).read(index.name, run.start + first, run.start + last)
        assert rows.times is not None
        begin = 0 if least is None else int(np.searchsorted(rows.times.value, least))
        end = len(rows.numbers) if most is None else int(np.searchsorted(rows.times.value, most))
        earlier += first + begin
        tables.append(part_of(rows, begin, end))
    return tables, earlier


def _nearest(
    index: SeriesIndex,
    row: int,
    wanted: npt.NDArray[np.bool_],
    direction: int,
    limit: int,
    source: DatasetSource,
    read: Open,
) -> Edge:
    """Return the observed value nearest to `row` in each wanted column, before it or from it on, no further than `limit`."""
    edge = Edge.none(len(number_columns(source)))
    wanted, position = wanted.copy(), row
    while wanted.any() and position != limit and _has_observed(index, wanted, position, direction):
        other = max(position - ROWS_TO_LOOK_AT, limit) if direction < 0 else min(position + ROWS_TO_LOOK_AT, limit)
        start, stop = min(position, other), max(position, other)
        numbers = load_rows(index, start, stop, source, read).numbers
        for column in np.flatnonzero(wanted):
            rows = np.flatnonzero(~np.isnan(numbers[:, column]))
            if len(rows):
                nearest_row = int(rows[-1] if direction < 0 else rows[0])
                edge.rows[column], edge.values[column] = start + nearest_row, numbers[nearest_row, column]
                wanted[column] = False
        position = other
    return edge


def _has_observed(index: SeriesIndex, wanted: npt.NDArray[np.bool_], row: int, direction: int) -> bool:
    """Return whether a run that reaches beyond a row has a value in one of the wanted columns."""
    if index.origin is None:
        return any((run.observed & wanted).any() for _, run in index.runs)
    if index.step is None:
        return any((run.observed & wanted).any() for _, run in index.runs)
    time = index.origin + index.step * row
    beyond = [run for _, run in index.runs if (run.marks[0] < time if direction < 0 else run.marks[-1] >= time)]
    return any((run.observed & wanted).any() for run in beyond)


def check_heads(heads: Sequence[Rows], source: DatasetSource) -> None:
    """Raise InputError if there are no rows, or if the runs have different kinds of time."""
    timed = [(head.file, head.times) for head in heads if head.times is not None and len(head.times.value)]
    check_kinds_of_time([kind_of_time(file, times) for file, times in timed])
    if heads and not any(len(head.numbers) for head in heads) and source.settings.series is None:
        for _ in series_of(heads[:1], source):
            pass
