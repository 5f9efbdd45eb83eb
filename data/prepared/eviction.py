"""Limit the cache of prepared rows: the least recently used part is removed first.

A mapped file stays readable after it is removed, so no process needs to know of the others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from data.errors import InputError

LIMIT = "LSTM_RELAY_CACHE_GB"  # of prepared rows from object stores on one machine; default: the free space of the disk
FREE_BYTES = 1 << 30  # left free on the disk
ABANDONED_S = 3600.0  # age after which an unfinished download counts as abandoned


def limit_bytes() -> float:
    """Return the limit of the cache, infinite by default; raises InputError."""
    text = os.environ.get(LIMIT, "")
    try:
        gigabytes = float(text or "inf")
    except ValueError:
        gigabytes = -1.0
    if not gigabytes > 0:
        raise InputError(f"{LIMIT}={text}: write a number of gigabytes above 0, such as 50")
    return gigabytes * 1e9


def has_room(cache: Path, num_bytes: int) -> bool:
    """Return whether so many bytes fit on the disk without evicting anything."""
    return shutil.disk_usage(cache).free >= num_bytes + FREE_BYTES


def make_room(cache: Path, num_bytes: int) -> None:
    """Evict the least recently used parts until so many more bytes fit into the limit and on the disk."""
    limit, parts = limit_bytes(), []
    for path in cache.glob("*/prepared/*/*"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            facts = path.stat()
            if path.name.startswith(".fetching-") and time.time() - facts.st_mtime > ABANDONED_S:
                path.unlink()
            elif path.suffix == ".arrow":
                parts.append((facts.st_atime_ns, facts.st_size, path))
    kept = sum(size for _, size, _ in parts)
    for _, size, path in sorted(parts):
        if kept + num_bytes <= limit and has_room(cache, num_bytes):
            return
        path.unlink(missing_ok=True)
        kept -= size
