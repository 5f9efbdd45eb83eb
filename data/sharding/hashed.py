"""Hash an object while it is read, so that the prepared rows belong to its fingerprint."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

from data.errors import InputError
from data.reading.files import open_filesystem
from data.reading.read import Rows, read_rows
from data.reading.settings import DatasetSource
from data.sharding.cuts import CHUNK_BYTES
from data.sharding.extracts import inner_path, message_about_file


def read_hashed(file: str, sha256: str, source: DatasetSource) -> Rows:
    """Read a file of an object store through a temporary copy, once from end to end.

    Raises InputError with the problems of its rows, or if its content does not have the hash.
    """
    filesystem, inner = open_filesystem(file)
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        path = Path(folder) / inner_path(file)
        path.parent.mkdir(parents=True)
        try:
            with filesystem.open_input_stream(inner, compression=None) as stream, path.open("wb") as copy:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
                    copy.write(chunk)
        except OSError as error:
            raise InputError(f"{file}: it cannot be read ({error})") from None
        if digest.hexdigest() != sha256:
            raise InputError(changed_message(file))
        try:
            rows = read_rows(str(path), source)
        except InputError as error:
            raise InputError([message_about_file(message, str(path), file, 0) for message in error.messages]) from None
    return replace(rows, file=file, positions=replace(rows.positions, file=file))


def changed_message(file: str) -> str:
    """Return the message about a file that has changed since it was hashed."""
    return f"{file}: it was written while it was read: run again when it is complete"
