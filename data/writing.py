"""Write files atomically: under a temporary name first, then renamed."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path


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
