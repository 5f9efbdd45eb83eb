"""Runs: the rows of a piece, sorted by series and time, in a file that is read by ranges of rows.

If series have rows in several pieces, each piece is sorted by itself and written as a run, and each part is merged from
the ranges of the runs that hold its rows: an external merge sort. Both passes hold a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.columnwise import of_columns
from data.reading.file_format import stem
from data.reading.files import open_filesystem
from data.reading.read import FILE_AS_SERIES, Rows, label_columns
from data.reading.settings import DatasetSource, SplitDates
from data.reading.times import parse_time
from data.samples.precision import Rounding, rounding_of
from data.sharding.pieces import Piece, locate_row

Int64 = npt.NDArray[np.int64]
MARK_ROWS = 1024  # from one mark to the next: at most about so many unused rows are read at each end of a range
BATCH_ROWS = 65536  # of a batch of a run: the smallest read from an object store


@dataclass(frozen=True)
class SeriesRun:
    """The rows of one series in one run: `start` to `stop`, sorted by time.

    `marks` are the times of each MARK_ROWS-th of them and of the last one; empty if rows have no time. `earlier` counts the
    rows before each date of the split. `observed` says for each number column whether it has a value. `residue` is the
    remainder of all times modulo the step of the frequency; None if they differ, or without a frequency. `rounding` is the
    effect of 32 bits on each number column.
    """

    start: int
    stop: int
    marks: Int64
    earlier: tuple[int, ...]
    observed: npt.NDArray[np.bool_]
    residue: int | None = None
    rounding: tuple[Rounding, ...] = ()

    def mark_rows(self) -> Int64:
        """Return the rows of the marks, counted from `start`."""
        rows = np.arange(0, self.stop - self.start, MARK_ROWS)
        last = self.stop - self.start - 1
        return rows if rows[-1] == last else np.append(rows, last)


@dataclass(frozen=True)
class Run:
    """A run: its file, the table of the piece it was made from, and its rows of each series, by name."""

    path: str
    piece: Piece
    table: int
    series: dict[str, SeriesRun]
    head: Rows  # its first row, with the facts that all of its rows share

    def without_series(self) -> Run:
        """Return the run without its series, for a task that knows its rows: the facts of all series may be large."""
        return replace(self, series={})


def split_dates(source: DatasetSource) -> list[int]:
    """Return the split dates in microseconds; local ones if the recipe names a zone."""
    split = source.settings.split
    if not isinstance(split, SplitDates):
        return []
    return [
        parse_time(date, source.settings.time_zone) for date in (split.validation, split.test, split.end) if date is not None
    ]


def write_run(rows: Rows, source: DatasetSource, piece: Piece, table: int, path: str) -> Run:
    """Sort the rows by series and time and write them to a path or URI."""
    names, codes = _series_of(rows, source)
    times = None if rows.times is None else rows.times.value
    order = _order(codes, times)
    numbers = rows.numbers if order is None else rows.numbers.take(order, axis=0)
    codes = codes if order is None else codes.take(order)
    columns = {"row": np.arange(len(codes)) if order is None else order}
    if times is not None:
        times = times if order is None else times.take(order)
        columns["time"] = times
    arrays = {name: pa.array(values) for name, values in columns.items()}
    flat = pa.array(np.ascontiguousarray(numbers).reshape(-1))
    arrays["numbers"] = pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1])
    for name in label_columns(source):
        labels = pa.array(rows.labels[name], pa.string())
        arrays[name_of(name)] = labels if order is None else labels.take(pa.array(order))
    filesystem, inner = open_filesystem(path)
    filesystem.create_dir(inner.rpartition("/")[0], recursive=True)
    batch = pa.record_batch(arrays)
    with filesystem.open_output_stream(inner) as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        for start in range(0, len(codes), BATCH_ROWS):
            writer.write_batch(batch.slice(start, BATCH_ROWS))
    dates, step = split_dates(source), None if source.settings.grid is None else source.settings.grid.step
    borders = np.searchsorted(codes, np.arange(len(names) + 1))
    series = {}
    for name, start, stop in zip(names, borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        if start == stop:
            continue
        own_times = np.empty(0, np.int64) if times is None else times[start:stop]
        mark_rows = SeriesRun(start, stop, own_times, (), np.empty(0, bool)).mark_rows()
        marks = own_times[:0] if times is None else own_times[mark_rows]
        earlier = tuple(np.searchsorted(own_times, dates).tolist())
        observed = ~of_columns(np.logical_and, np.isnan(numbers[start:stop]))
        residues = own_times % step if step else own_times[:0]
        residue = int(residues[0]) if len(residues) and (residues == residues[0]).all() else None
        rounding = rounding_of(numbers[start:stop])
        series[name] = SeriesRun(start, stop, marks, earlier, observed, residue, rounding)
    head = replace(rows, positions=RunPositions(piece, table, np.zeros(1, np.int64), source))  # type: ignore[arg-type]
    return Run(path, piece, table, series, _copy(part_of(head, 0, 1)))


def _copy(rows: Rows) -> Rows:
    """Return a copy of the rows that does not refer to the table they were taken from, as a slice of Arrow would."""
    series = None if rows.series is None else pa.chunked_array([pa.array(rows.series.to_pylist(), pa.string())])
    times = None if rows.times is None else replace(rows.times, value=rows.times.value.copy())
    return replace(rows, numbers=rows.numbers.copy(), series=series, times=times)


def name_of(label: str) -> str:
    """Return the column of a run that has these labels."""
    return f"label {label}"


def _series_of(rows: Rows, source: DatasetSource) -> tuple[list[str], Int64]:
    """Return the names of the series, sorted, and the index of each row's series."""
    if rows.series is None:
        name = stem(rows.file) if source.settings.series == FILE_AS_SERIES else source.name
        return [name], np.zeros(len(rows.numbers), np.int64)
    keys = pc.dictionary_encode(rows.series.combine_chunks())
    keys = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    names, index_of_key = np.unique(np.asarray(keys.dictionary.to_pylist(), dtype=str), return_inverse=True)
    return names.tolist(), index_of_key.astype(np.int64)[np.asarray(keys.indices)] if len(names) else np.empty(0, np.int64)


def _order(codes: Int64, times: Int64 | None) -> Int64 | None:
    """Return the row order by series, then time; None if the rows are in order."""
    steps = np.diff(codes)
    if times is None:
        return None if (steps >= 0).all() else np.argsort(codes, kind="stable")
    if ((steps > 0) | ((steps == 0) & (np.diff(times) >= 0))).all():
        return None
    return np.lexsort((times, codes))


@dataclass(frozen=True)
class RunPositions:
    """The positions in the files of rows taken from a run; resolved only when a message names one."""

    piece: Piece
    table: int
    rows: Int64
    source: DatasetSource

    def at(self, row: int) -> str:
        """Return the file and the line of a row."""
        return locate_row(self.piece, self.table, int(self.rows[row]), self.source)


class RunReader:
    """Reads ranges of rows of a run, as the rows of its file: memory-mapped in a folder, otherwise by batches."""

    def __init__(self, run: Run, source: DatasetSource):
        self.run, self.source = run, source
        filesystem, inner = open_filesystem(run.path)
        self._local = inner == run.path
        self._file = pa.memory_map(inner) if self._local else filesystem.open_input_file(inner)
        self._batches = pa.ipc.open_file(self._file)

    def read(self, series: str, start: int, stop: int) -> Rows:
        """Return the rows from `start` to `stop` of the run, which are all of this series."""
        batches = []
        for number in range(start // BATCH_ROWS, -(-stop // BATCH_ROWS)):
            batch, offset = self._batches.get_batch(number), number * BATCH_ROWS
            low, high = max(start - offset, 0), min(stop - offset, batch.num_rows)
            batches.append(batch.slice(low, high - low))
        if not batches:
            batches = [self._batches.get_batch(0).slice(0, 0)]
        table = pa.Table.from_batches(batches)
        width = table.schema.field("numbers").type.list_size
        parts = [np.asarray(chunk.flatten()).reshape(-1, width) for chunk in table.column("numbers").chunks]
        times = self.run.head.times
        if times is not None:
            times = replace(times, value=np.asarray(table.column("time")))
        labels = {name: table.column(name_of(name)).to_pylist() for name in label_columns(self.source)}
        positions = RunPositions(self.run.piece, self.run.table, np.asarray(table.column("row")), self.source)
        return replace(
            self.run.head,
            series=None if self.run.head.series is None else series_column(series, stop - start),
            numbers=parts[0] if len(parts) == 1 else np.concatenate(parts),
            labels=labels,
            times=times,
            positions=positions,  # type: ignore[arg-type]
        )

    def times(self, start: int, stop: int) -> Iterator[Int64]:
        """Return the times of some rows, batch by batch; nothing else is read."""
        time_field = self._batches.schema.get_field_index("time")
        self._file.seek(0)
        reader = pa.ipc.open_file(self._file, options=pa.ipc.IpcReadOptions(included_fields=[time_field]))
        for number in range(start // BATCH_ROWS, -(-stop // BATCH_ROWS)):
            offset = number * BATCH_ROWS
            yield np.asarray(reader.get_batch(number).column(0))[max(start - offset, 0) : stop - offset]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def rows_at(rows: Rows, indices: Int64) -> Rows:
    """Return some of the rows of a run, by their positions among those that were read."""
    if len(indices) == len(rows.numbers):
        return rows
    positions = rows.positions
    assert isinstance(positions, RunPositions)
    return replace(
        rows,
        numbers=rows.numbers.take(indices, axis=0),
        labels={name: [values[index] for index in indices] for name, values in rows.labels.items()},
        times=None if rows.times is None else replace(rows.times, value=rows.times.value[indices]),
        positions=replace(positions, rows=positions.rows[indices]),
        series=None if rows.series is None else rows.series.slice(0, len(indices)),
    )


def series_column(name: str, count: int) -> pa.ChunkedArray:
    """Return the series column of rows of one series."""
    return pa.chunked_array([pa.repeat(pa.scalar(name, pa.string()), count)])


def part_of(rows: Rows, start: int, stop: int) -> Rows:
    """Return the rows from `start` to `stop` of those that were read."""
    positions = rows.positions
    assert isinstance(positions, RunPositions)
    times = None if rows.times is None else replace(rows.times, value=rows.times.value[start:stop])
    labels = {name: values[start:stop] for name, values in rows.labels.items()}
    taken = replace(positions, rows=positions.rows[start:stop])
    series = None if rows.series is None else rows.series.slice(start, stop - start)
    return replace(rows, numbers=rows.numbers[start:stop], labels=labels, times=times, positions=taken, series=series)
