"""A stretch of a file as a file of its own, so that what reads and checks whole files reads and checks it, too."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import InputError
from data.reading.files import is_uri, open_filesystem

PARQUET = b"PAR1"
PACKED = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, Zstandard
ARROW = b"ARROW1"


@contextlib.contextmanager
def extract(file: str, content: bytes | pa.Table, lines_before: int = 0) -> Iterator[str]:
    """The path of a local file with this content, gone afterwards; an InputError raised meanwhile names the file itself.

    Folders and name are those of the file, as they may name a series or a column. `lines_before` is added to the numbers
    of lines and rows in messages.
    """
    inner = unquote(file.partition("?")[0]).partition("://")[2] if is_uri(file) else file
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        path = Path(folder) / inner.lstrip("/")
        path.parent.mkdir(parents=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(content, path, compression="none", use_dictionary=False, write_statistics=False)
        try:
            yield str(path)
        except InputError as error:
            raise InputError([renamed(message, str(path), file, lines_before) for message in error.messages]) from None


def renamed(message: str, extracted: str, file: str, lines_before: int) -> str:
    """The message about an extract as one about the file."""

    def moved(match: re.Match[str]) -> str:
        return f"{file}, {match[1]} {int(match[2]) + lines_before}"

    message = re.sub(re.escape(extracted) + r", (line|row) (\d+)", moved, message)
    return message.replace(extracted, file)


def kind_of(file: str) -> str:
    """What the first bytes say: parquet, arrow, packed or text. Raises InputError where the file cannot be read."""
    filesystem, inner = open_filesystem(file)
    try:
        with filesystem.open_input_stream(inner, compression=None) as stream:
            start = bytes(stream.read(8))
    except OSError as error:
        raise InputError(f"{file}: it cannot be read ({error})") from None
    kinds = {"parquet": (PARQUET,), "arrow": (ARROW,), "packed": PACKED}
    return next((kind for kind, marks in kinds.items() if start.startswith(marks)), "text")
