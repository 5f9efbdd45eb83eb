"""Files of a task are written where they belong: in a folder, or by way of a temporary one in an object store."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pyarrow import fs

from data.reading.files import is_uri, open_filesystem


@contextlib.contextmanager
def writing_to(place: str | Path) -> Iterator[Path]:
    """A folder to write files in that then are in this place, a path or URI."""
    place = str(place)
    if not is_uri(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        yield Path(folder)
        filesystem, inner = open_filesystem(place)
        for file in sorted(Path(folder).iterdir()):
            fs.copy_files(str(file), f"{inner}/{file.name}", destination_filesystem=filesystem)
