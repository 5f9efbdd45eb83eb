"""Files in pieces of bounded size: row groups of Parquet, byte ranges of CSV; each is read and checked by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import InputError
from data.reading.file_format import WHITESPACE, FileFormat
from data.reading.files import open_filesystem
from data.reading.read import Rows, read_rows, wanted_columns
from data.reading.settings import DatasetSource
from data.sharding.extracts import extract, kind_of, renamed

PIECE_BYTES = 64 << 20  # of CSV as it is stored, of Parquet unpacked; a task takes about eight times as much memory
CHUNK_BYTES = 1 << 22
MOST_ROWS = 1 << 20  # of a table that is read at once from a large row group


@dataclass(frozen=True)
class Survey:
    """What a file is made of: its hash, and where it can be cut.

    `groups` are the rows and the unpacked bytes of each row group. `cuts` are the offsets in a CSV file where a line begins,
    about PIECE_BYTES apart, each with the number of lines before it; the first one is the end of the header.
    """

    file: str
    sha256: str
    num_bytes: int
    groups: list[tuple[int, int]] = field(default_factory=list)
    cuts: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """A whole file, or row groups `start` to `stop` of it, or those bytes; `before` are the rows or lines in front of it."""

    file: str
    kind: str = "file"
    start: int = 0
    stop: int = 0
    before: int = 0
    header: int = 0


def survey(file: str, form: FileFormat, piece_bytes: int | None = None) -> Survey:
    """Read a file once from end to end: hash it and find where it can be cut."""
    piece_bytes = piece_bytes or PIECE_BYTES
    filesystem, inner = open_filesystem(file)
    kind, digest, cuts = kind_of(file), hashlib.sha256(), _Cuts(piece_bytes, form)
    size = 0
    cuttable = kind == "text" and '\n"'.encode(form.encoding) == b'\n"'  # not UTF-16
    try:
        with filesystem.open_input_stream(inner, compression=None) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if cuttable:
                    cuts.add(chunk)
        groups = []
        if kind == "parquet":
            with pq.ParquetFile(inner, filesystem=filesystem) as parquet:
                described = [parquet.metadata.row_group(place) for place in range(parquet.num_row_groups)]
                groups = [(group.num_rows, group.total_byte_size) for group in described]
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: it cannot be read ({str(error).splitlines()[0]})") from None
    return Survey(file, digest.hexdigest(), size, groups, cuts.found)


class _Cuts:
    """Finds the line breaks, outside of quoted cells, next behind each multiple of some bytes; and that of the header."""

    def __init__(self, every: int, form: FileFormat):
        self.every, self.offset, self.lines, self.next = every, 0, 0, 0
        self.quoted = self.content = False
        self.found: list[tuple[int, int]] = []
        self.left_out, self.has_header = form.skip_rows, form.column_names is None
        self.quotes = form.delimiter != WHITESPACE  # there a quote is a letter like others
        if not self.left_out:
            self._begin(0)

    def add(self, chunk: bytes) -> None:
        """Go on with the bytes behind those that were added before."""
        place = 0
        while self.left_out and (end := chunk.find(b"\n", place)) >= 0:
            place, self.lines, self.left_out = end + 1, self.lines + 1, self.left_out - 1
            if not self.left_out:
                self._begin(self.offset + place)
        while not self.left_out and self.next < self.offset + len(chunk):
            target = max(self.next - self.offset, place)
            self._skip(chunk, place, target)
            place = target
            end = chunk.find(b"\n", place)
            if end < 0:
                break
            self._skip(chunk, place, end + 1)
            place = end + 1
            if not self.quoted and self.content:  # blank lines before the header are no header
                self.found.append((self.offset + place, self.lines))
                self.next = max(self.next + self.every, self.offset + place)
        if not self.left_out:
            self._skip(chunk, place, len(chunk))
        self.offset += len(chunk)

    def _begin(self, offset: int) -> None:
        """The rows, or their header, begin here."""
        self.next = offset
        if not self.has_header:
            self.found.append((offset, self.lines))
            self.next += self.every

    def _skip(self, chunk: bytes, start: int, stop: int) -> None:
        self.quoted ^= self.quotes and chunk.count(b'"', start, stop) % 2 == 1
        self.lines += chunk.count(b"\n", start, stop)
        self.content = self.content or bool(chunk[start:stop].strip())


def cut_file(found: Survey, piece_bytes: int | None = None) -> list[Piece]:
    """The pieces of a file: consecutive row groups or lines of about PIECE_BYTES, or all of it where it cannot be cut."""
    piece_bytes = piece_bytes or PIECE_BYTES
    if found.groups:
        pieces, start, rows, rows_before, size = [], 0, 0, 0, 0
        for place, (count, num_bytes) in enumerate(found.groups):
            if size and size + num_bytes > piece_bytes:
                pieces.append(Piece(found.file, "groups", start, place, rows_before))
                start, rows_before, size = place, rows, 0
            rows, size = rows + count, size + num_bytes
        return [*pieces, Piece(found.file, "groups", start, len(found.groups), rows_before)]
    if len(found.cuts) > 1:
        header = found.cuts[0][0]
        ends = [offset for offset, _ in found.cuts[1:]] + [found.num_bytes]
        return [
            Piece(found.file, "bytes", start, end, lines - found.cuts[0][1], header)
            for (start, lines), end in zip(found.cuts, ends, strict=True)
            if start < end
        ]
    return [Piece(found.file)]


def read_piece(piece: Piece, source: DatasetSource) -> Iterator[Rows]:
    """The checked rows of a piece, in tables of bounded size; messages name the file and the line or row in it."""
    for content, before in _contents(piece, source):
        if content is None:
            yield read_rows(piece.file, source)
            return
        with extract(piece.file, content, before) as path:
            rows = read_rows(path, source)
        yield replace(rows, file=piece.file)


def place_of(piece: Piece, table: int, row: int, source: DatasetSource) -> str:
    """Where a row of one of the tables of a piece stands: its file, and its line or row there; the piece is read again."""
    content, before = next(islice(_contents(piece, source), table, None))
    if content is None:
        return read_rows(piece.file, source).places.at(row)
    with extract(piece.file, content, before) as path:
        return renamed(read_rows(path, source).places.at(row), path, piece.file, before)


def _contents(piece: Piece, source: DatasetSource) -> Iterator[tuple[bytes | pa.Table | None, int]]:
    """The tables of a piece as files, each with the lines or rows before it; None for a file as it is."""
    if piece.kind == "file":
        yield None, 0
        return
    filesystem, inner = open_filesystem(piece.file)
    if piece.kind == "bytes":
        with filesystem.open_input_file(inner) as stream:
            header = stream.read_at(piece.header, 0) if piece.header else b""
            rows = stream.read_at(piece.stop - piece.start, piece.start)
        if rows.strip():
            yield header + rows, piece.before
        return
    with pq.ParquetFile(inner, filesystem=filesystem) as parquet:
        before = piece.before
        for table in _tables(parquet, range(piece.start, piece.stop), _columns_of(parquet.schema_arrow.names, source)):
            yield table, before
            before += len(table)


def _tables(parquet: pq.ParquetFile, groups: Sequence[int], columns: list[str]) -> Iterator[pa.Table]:
    rows = sum(parquet.metadata.row_group(place).num_rows for place in groups)
    if rows <= MOST_ROWS or len(groups) > 1:
        yield parquet.read_row_groups(list(groups), columns=columns, use_threads=False)
        return
    for batch in parquet.iter_batches(MOST_ROWS, row_groups=list(groups), columns=columns, use_threads=False):
        yield pa.Table.from_batches([batch])


def _columns_of(names: Sequence[str], source: DatasetSource) -> list[str]:
    """The columns of a file that may be asked for, by the recipe's name or by the file's own."""
    numbers, texts = wanted_columns(source)
    wanted = {*numbers, *texts, *source.settings.rename}
    return [name for name in names if name in wanted]
