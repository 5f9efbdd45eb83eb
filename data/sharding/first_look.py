"""Read the first rows of each file before anything starts, so that a wrong time format is reported in a second."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import InputError
from data.reading.file_format import FileFormat
from data.reading.files import open_filesystem, open_input
from data.reading.read import FILE_AS_SERIES, read_rows
from data.reading.settings import DatasetSource
from data.sharding.extracts import extract
from data.sharding.streams import is_cuttable

FIRST_BYTES = 1 << 16
FIRST_ROWS = 256


def first_problems(sources: Sequence[DatasetSource]) -> list[str]:
    """Return the problems of the first rows of each file; each is an error of the whole file, too."""
    sources_by_file = {
        (file, id(source.settings)): source for source in sources for file in (*source.files, *source.test_files)
    }
    with ThreadPoolExecutor(8) as pool:  # with an object store nearly all of the time is spent waiting
        problems = pool.map(_problems_of, [file for file, _ in sources_by_file], sources_by_file.values())
    return list(dict.fromkeys(problem for each in problems for problem in each))


def _problems_of(file: str, source: DatasetSource) -> list[str]:
    try:
        head = first_rows(file, source.settings.file_format)
        if head is not None:
            with extract(file, head, source.settings.file_format) as extracted:
                read_rows(extracted, source)
    except InputError as error:
        return error.messages
    return []


def series_cross_files(source: DatasetSource) -> bool:
    """Return whether the first rows of two files belong to one series; False if they do not show it."""
    if source.settings.series in (None, FILE_AS_SERIES):
        return False
    seen: set[str] = set()
    for file in source.files:
        names: set[str] = set()
        with contextlib.suppress(InputError):  # problems of the file are reported when it is read
            head = first_rows(file, source.settings.file_format)
            if head is not None:
                with extract(file, head, source.settings.file_format) as extracted:
                    series = read_rows(extracted, source).series
                names = set() if series is None else set(series.to_pylist())
        if names & seen:
            return True
        seen |= names
    return False


def first_rows(file: str, form: FileFormat) -> bytes | pa.Table | None:
    """Return the first rows of a file as a file; None if that needs more reading, or if they are the whole file."""
    kind = form.kind_of(file)
    try:
        if kind == "csv":
            return _first_lines(file, form)
        if kind == "parquet":
            filesystem, inner = open_filesystem(file)
            few = {"buffer_size": FIRST_BYTES, "pre_buffer": False}  # otherwise a whole row group is read
            with pq.ParquetFile(inner, filesystem=filesystem, **few) as parquet:
                batch = next(parquet.iter_batches(FIRST_ROWS, row_groups=[0]), None) if parquet.num_row_groups else None
            return None if batch is None else pa.Table.from_batches([batch])
        return _first_batch(file)
    except (pa.ArrowException, OSError, EOFError):
        return None  # reported when the whole file is read


def _first_batch(file: str) -> pa.Table | None:
    filesystem, inner = open_filesystem(file)
    with filesystem.open_input_file(inner) as source:
        reader = pa.ipc.open_file(source)
        return pa.Table.from_batches([reader.get_batch(0).slice(0, FIRST_ROWS)]) if reader.num_record_batches else None


def _first_lines(file: str, form: FileFormat) -> bytes | None:
    with open_input(file) as stream:
        start = b""
        while len(start) < FIRST_BYTES and (more := stream.read(FIRST_BYTES - len(start))):
            start += more
    if len(start) < FIRST_BYTES:
        return start
    if not is_cuttable(form.encoding) or b"\0" in start:
        return None  # UTF-16, where a line break is two bytes
    whole = start[: start.rfind(b"\n") + 1]
    while whole.count(b'"') % 2:  # the line break is inside a quoted cell
        whole = whole[: whole.rfind(b"\n", 0, -1) + 1]
    return whole if whole.count(b"\n") > 1 else None
