"""Read files that can only be read from their beginning in bounded tables: packed CSV, wide encodings, Arrow streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from data.errors import InputError
from data.reading.csv_file import open_text
from data.reading.file_format import FileFormat
from data.reading.files import open_filesystem, open_input
from data.sharding.cuts import CHUNK_BYTES, Cuts

MOST_ROWS = 1 << 20  # of a table that is read at once from a large row group or record batch
CELL_BYTES = 8  # approximate memory of a cell


def is_cuttable(encoding: str) -> bool:
    """Return whether a byte that looks like a line break or a quote is one: true in UTF-8, not in UTF-16."""
    return '\n"'.encode(encoding) == b'\n"'


def text_tables(file: str, form: FileFormat, most_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Return pieces of about `most_bytes` of a CSV file, uncompressed, each with the header, and the lines before each.

    Cut where `Cuts` would cut the uncompressed file, in the file's encoding.
    """
    cuts, header, buffer = Cuts(most_bytes, form), b"", bytearray()
    done, offset, first, before = 0, 0, 0, 0

    def encode(content: bytes) -> bytes:
        return content if is_cuttable(form.encoding) else content.decode().encode(form.encoding)

    for chunk in _chunks(file, form):
        cuts.add(chunk)
        buffer += chunk
        while done < len(cuts.positions):
            end, lines = cuts.positions[done]
            content = bytes(buffer[: end - offset])
            del buffer[: end - offset]
            if done:
                yield encode(header + content), before
            else:
                header, first = content, lines
            done, offset, before = done + 1, end, lines - first
    if buffer.strip() or done < 2:  # a file without rows is reported when it is read
        yield encode(header + bytes(buffer)), before


def _chunks(file: str, form: FileFormat) -> Iterator[bytes]:
    """Return the content of a file, in UTF-8 if line breaks cannot be located in its encoding."""
    try:
        with open_input(file) as stream:
            if is_cuttable(form.encoding):
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
                return
            text = open_text(stream, form, "strict")
            while characters := text.read(CHUNK_BYTES):
                yield characters.encode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: a cell is not {form.encoding} ({error.reason}): encoding = {form.encoding!r} is not that of the file: "
            "write the one that it was saved in"
        ) from None
    except OSError as error:
        raise InputError(f"{file}: it cannot be read ({error})") from None


def batch_rows(file: str) -> tuple[list[int] | None, int]:
    """Return the rows of each record batch of an Arrow file, and the approximate bytes of a row; None for a stream."""
    filesystem, inner = open_filesystem(file)
    with filesystem.open_input_file(inner) as source:
        try:
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=[0]))
        except pa.ArrowInvalid:
            return None, 0
        rows = [reader.get_batch(number).num_rows for number in range(reader.num_record_batches)]
        source.seek(0)
        return rows, CELL_BYTES * len(pa.ipc.open_file(source).schema.names)


def rows_of_table(columns: int, most_bytes: int) -> int:
    """Return how many rows of a large row group or record batch are read at once."""
    return max(min(MOST_ROWS, most_bytes // (CELL_BYTES * max(columns, 1))), 1)


def arrow_tables(file: str, start: int, stop: int | None, wanted: set[str], most_rows: int) -> Iterator[pa.Table]:
    """Return tables of at most `most_rows` from the record batches `start` to `stop` of an Arrow file, or from a stream."""
    filesystem, inner = open_filesystem(file)
    with pa.memory_map(inner) if inner == file else filesystem.open_input_file(inner) as source:
        if stop is None:
            stream = pa.ipc.open_stream(source)
            columns = [name for name in stream.schema.names if name in wanted]
            yield from _gather((batch.select(columns) for batch in stream), most_rows)
            return
        indices = [index for index, name in enumerate(pa.ipc.open_file(source).schema.names) if name in wanted]
        source.seek(0)
        reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=indices))
        yield from _gather((reader.get_batch(number) for number in range(start, stop)), most_rows)


def _gather(batches: Iterable[pa.RecordBatch], most_rows: int) -> Iterator[pa.Table]:
    """Return the rows of several batches in tables of bounded size."""
    batch_group: list[pa.RecordBatch] = []
    rows = 0
    for whole in batches:
        for offset in range(0, whole.num_rows, most_rows):
            batch = whole.slice(offset, most_rows)
            if rows and rows + batch.num_rows > most_rows:
                yield pa.Table.from_batches(batch_group)
                batch_group, rows = [], 0
            batch_group.append(batch)
            rows += batch.num_rows
    if batch_group:
        yield pa.Table.from_batches(batch_group)
