"""Write files under a temporary name and rename them, so that they appear whole, and upload files."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from pyarrow import fs

CHUNK_BYTES = 1 << 22


@contextlib.contextmanager
def appearing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path whose content appears at `path` at the end; after an error `path` is unchanged."""
    target = Path(path)
    scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        yield scratch
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that no reader sees part of it."""
    with appearing(path) as scratch:
        scratch.write_bytes(content)


def upload(path: Path, filesystem: fs.FileSystem, inner: str) -> None:
    """Copy a local file to a path of a filesystem; raises OSError if that fails.

    PyArrow's copy_files (26.0) ignores an upload to S3 that fails when it is closed, and leaves an empty object.
    """
    with path.open("rb") as source, filesystem.open_output_stream(inner, compression=None) as sink:
        shutil.copyfileobj(source, sink, CHUNK_BYTES)
