"""Write a stretch of a file to a temporary file, so that code for whole files reads and checks it."""

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
from data.reading.file_format import FileFormat
from data.reading.files import is_uri


@contextlib.contextmanager
def extract(file: str, content: bytes | pa.Table, form: FileFormat, lines_before: int = 0) -> Iterator[str]:
    """Yield the path of a temporary file with this content; an InputError raised meanwhile names the original file.

    It keeps folders and name of the file, because they may name a series or a column. `lines_before` is added to the
    numbers of lines and rows in messages.
    """
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        path = Path(folder) / inner_path(file)
        path.parent.mkdir(parents=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif form.kind_of(file) == "arrow":
            table = content.unify_dictionaries()  # an Arrow file has one dictionary for each column
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        else:
            pq.write_table(content, path, compression="none", use_dictionary=False, write_statistics=False)
        try:
            yield str(path)
        except InputError as error:
            raise InputError(
                [message_about_file(message, str(path), file, lines_before) for message in error.messages]
            ) from None


def inner_path(file: str) -> str:
    """Return the folders and the name of a file, below any other folder."""
    inner = unquote(file.partition("?")[0]).partition("://")[2] if is_uri(file) else file
    return inner.lstrip("/")


def message_about_file(message: str, extracted: str, file: str, lines_before: int) -> str:
    """Return a message about an extract as one about the file."""

    def shift_number(match: re.Match[str]) -> str:
        return f"{file}, {match[1]} {int(match[2]) + lines_before}"

    message = re.sub(re.escape(extracted) + r", (line|row) (\d+)", shift_number, message)
    return message.replace(extracted, file)
