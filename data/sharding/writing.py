"""Write the files of a task to a folder, or through a temporary folder to an object store."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data.reading.files import is_uri, open_filesystem
from data.writing import upload


@contextlib.contextmanager
def writing_to(destination: str | Path) -> Iterator[Path]:
    """Yield a folder; its files are then moved to the destination, a path or URI."""
    destination = str(destination)
    if not is_uri(destination):
        yield Path(destination)
        return
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        yield Path(folder)
        filesystem, inner = open_filesystem(destination)
        for file in sorted(Path(folder).iterdir()):
            upload(file, filesystem, f"{inner}/{file.name}")
