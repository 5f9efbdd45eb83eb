"""Cut files into bounded pieces: row groups of Parquet, byte ranges of CSV; each is read and checked by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import InputError
from data.reading.file_format import FileFormat
from data.reading.files import is_packed, open_filesystem
from data.reading.read import Rows, read_rows, wanted_columns
from data.reading.settings import DatasetSource
from data.reading.zones import Clock
from data.sharding.cuts import CHUNK_BYTES, Cuts
from data.sharding.extracts import extract, message_about_file
from data.sharding.streams import arrow_tables, batch_rows, is_cuttable, rows_of_table, text_tables

PIECE_BYTES = 64 << 20  # of CSV as stored, of Parquet decompressed; a task takes about eight times as much memory
BUFFER_BYTES = 1 << 20  # of a column of a row group that is read at once


@dataclass(frozen=True)
class Survey:
    """The hash of a file, and where it can be cut.

    `groups` are the rows and the decompressed bytes of each row group. `cuts` are the offsets in a CSV file where a line
    begins, about PIECE_BYTES apart, each with the number of lines before it; the first one is the end of the header. `kind`
    says how it is read: see `_kind_of`.
    """

    file: str
    sha256: str
    num_bytes: int
    groups: list[tuple[int, int]] = field(default_factory=list)
    cuts: list[tuple[int, int]] = field(default_factory=list)
    kind: str = "text"


@dataclass(frozen=True)
class Piece:
    """A file, or the row groups, record batches or bytes `start` to `stop` of it; `before` are the rows or lines in front.

    A file of kind "stream" is read in several tables, from its beginning; one of kind "file" in one.
    """

    file: str
    kind: str = "file"
    start: int = 0
    stop: int = 0
    before: int = 0
    header: int = 0


def survey(file: str, form: FileFormat, piece_bytes: int | None = None) -> Survey:
    """Read a file once from end to end: hash it and find where it can be cut."""
    filesystem, inner = open_filesystem(file)
    kind, digest, cuts = _kind_of(file, form), hashlib.sha256(), Cuts(piece_bytes or PIECE_BYTES, form)
    size = 0
    try:
        with filesystem.open_input_stream(inner, compression=None) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if kind == "text":
                    cuts.add(chunk)
        groups = []
        if kind == "parquet":
            with pq.ParquetFile(inner, filesystem=filesystem) as parquet:
                described = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
                groups = [(group.num_rows, group.total_byte_size) for group in described]
        elif kind == "arrow":
            rows, width = batch_rows(file)
            groups = [] if rows is None else [(count, count * width) for count in rows]
            kind = "stream" if rows is None else kind
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: it cannot be read ({str(error).splitlines()[0]})") from None
    return Survey(file, digest.hexdigest(), size, groups, cuts.positions, kind)


def _kind_of(file: str, form: FileFormat) -> str:
    """Return how a file can be cut: Parquet and Arrow by row groups, text by bytes; a stream is read from its beginning."""
    kind = form.kind_of(file)
    if kind != "csv":
        return kind
    return "stream" if is_packed(file) or not is_cuttable(form.encoding) else "text"


def cut_file(file_survey: Survey, piece_bytes: int | None = None) -> list[Piece]:
    """Return the pieces of a file: consecutive row groups or lines of about PIECE_BYTES, or the whole of a stream."""
    piece_bytes = piece_bytes or PIECE_BYTES
    if file_survey.groups:
        kind = "batches" if file_survey.kind == "arrow" else "groups"
        pieces, start, rows, rows_before, size = [], 0, 0, 0, 0
        for number, (count, num_bytes) in enumerate(file_survey.groups):
            if size and size + num_bytes > piece_bytes:
                pieces.append(Piece(file_survey.file, kind, start, number, rows_before))
                start, rows_before, size = number, rows, 0
            rows, size = rows + count, size + num_bytes
        return [*pieces, Piece(file_survey.file, kind, start, len(file_survey.groups), rows_before)]
    if len(file_survey.cuts) > 1:
        header = file_survey.cuts[0][0]
        ends = [offset for offset, _ in file_survey.cuts[1:]] + [file_survey.num_bytes]
        return [
            Piece(file_survey.file, "bytes", start, end, lines - file_survey.cuts[0][1], header)
            for (start, lines), end in zip(file_survey.cuts, ends, strict=True)
            if start < end
        ]
    return [Piece(file_survey.file, "stream" if file_survey.kind == "stream" else "file")]


def read_piece(
    piece: Piece, source: DatasetSource, clocks: Sequence[Clock] = (), like: DatasetSource | None = None
) -> Iterator[Rows]:
    """Return the checked rows of a piece, in tables of bounded size; messages name the file and the line or row in it.

    `clocks` has one for each table, where repeated local hours are resolved by the rows of other tables. The tables are
    those that are read for the columns of `like`, absent: of `source`.
    """
    for number, (content, before) in enumerate(_contents(piece, source, like or source)):
        clock = clocks[number] if clocks else None
        if content is None:
            yield read_rows(piece.file, source, clock=clock)
            return
        with extract(piece.file, content, source.settings.file_format, before) as path:
            rows = read_rows(path, source, clock=clock)
        yield replace(rows, file=piece.file)


def locate_row(piece: Piece, table: int, row: int, source: DatasetSource) -> str:
    """Return the file and line or row of a row in one of a piece's tables; the piece is read again."""
    content, before = next(islice(_contents(piece, source, source), table, None))
    if content is None:
        return read_rows(piece.file, source).positions.at(row)
    with extract(piece.file, content, source.settings.file_format, before) as path:
        return message_about_file(read_rows(path, source).positions.at(row), path, piece.file, before)


def _contents(piece: Piece, source: DatasetSource, like: DatasetSource) -> Iterator[tuple[bytes | pa.Table | None, int]]:
    """Return the tables of a piece as files, each with the number of lines or rows before it; None for a whole file."""
    if piece.kind == "file":
        yield None, 0
        return
    form = source.settings.file_format
    filesystem, inner = open_filesystem(piece.file)
    if piece.kind == "bytes":
        with filesystem.open_input_file(inner) as stream:
            header = stream.read_at(piece.header, 0) if piece.header else b""
            rows = stream.read_at(piece.stop - piece.start, piece.start)
        if rows.strip():
            yield header + rows, piece.before
        return
    if piece.kind == "stream" and form.kind_of(piece.file) == "csv":
        yield from text_tables(piece.file, form, PIECE_BYTES)
        return
    before = piece.before
    for table in _tables(piece, _wanted_names(source), len(_wanted_names(like))):
        yield table, before
        before += len(table)


def _wanted_names(source: DatasetSource) -> set[str]:
    """Return the columns that may be needed, by their names in the recipe and in the file."""
    numbers, texts = wanted_columns(source)
    return {*numbers, *texts, *source.settings.rename}


def _tables(piece: Piece, wanted: set[str], columns: int) -> Iterator[pa.Table]:
    """Yield the wanted columns of a Parquet or Arrow piece, in tables of as many rows as fit for so many columns."""
    most_rows = rows_of_table(columns, PIECE_BYTES)
    if piece.kind != "groups":
        stop = piece.stop if piece.kind == "batches" else None
        yield from arrow_tables(piece.file, piece.start, stop, wanted, most_rows)
        return
    filesystem, inner = open_filesystem(piece.file)
    groups = list(range(piece.start, piece.stop))
    with pq.ParquetFile(inner, filesystem=filesystem) as parquet:
        names = [name for name in parquet.schema_arrow.names if name in wanted]
        rows = sum(parquet.metadata.row_group(number).num_rows for number in groups)
        if rows <= most_rows:
            yield parquet.read_row_groups(groups, columns=names, use_threads=False)
            return
    # A buffer for each column; otherwise all bytes of a row group are in memory.
    with pq.ParquetFile(inner, filesystem=filesystem, buffer_size=BUFFER_BYTES, pre_buffer=False) as parquet:
        for batch in parquet.iter_batches(most_rows, row_groups=groups, columns=names, use_threads=False):
            yield pa.Table.from_batches([batch])
