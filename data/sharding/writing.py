"""Write the files of a task to their place: a folder, or through a temporary folder to an object store."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data.reading.files import is_uri, open_filesystem
from data.writing import upload


@contextlib.contextmanager
def writing_to(place: str | Path) -> Iterator[Path]:
    """Yield a folder whose files are then moved to this place, a path or URI."""
    place = str(place)
    if not is_uri(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        yield Path(folder)
        filesystem, inner = open_filesystem(place)
        for file in sorted(Path(folder).iterdir()):
            upload(file, filesystem, f"{inner}/{file.name}")
