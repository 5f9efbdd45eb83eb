"""Memory that a step or a shard frees stays in the process: to ask the system for it again costs as much as its work."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # M_TRIM_THRESHOLD ... of glibc's malloc.h
KEPT_BYTES = 1 << 28
LARGEST_KEPT_BYTES = 1 << 26  # in threads other than the first glibc keeps no larger piece


def keep_freed_memory() -> bool:
    """Have glibc keep up to 256 MB of freed memory, in pieces of up to 64 MB; False where this is not glibc.

    The activations of 128 sequences (96 steps, hidden 64) are a piece of 22 MB that each step needs and frees. By default
    glibc gives it back, and each step pays for 7,000 page faults: 380 microseconds a sequence instead of 220. A shard of
    1,000,000 rows is prepared in 0.19 s instead of 0.22, and where page faults are dear, of 0.3 to 0.6.
    """
    mallopt = _mallopt()
    return (
        mallopt is not None
        and bool(mallopt(MMAP_THRESHOLD, LARGEST_KEPT_BYTES))
        and bool(mallopt(TRIM_THRESHOLD, KEPT_BYTES))
    )


def share_freed_memory() -> bool:
    """Have threads that begin from now on use the memory that others have freed; False where this is not glibc.

    By default each thread keeps memory of its own, in pieces too small for activations: two threads with 128 sequences each
    made 6,800 windows a second, sharing 11,000.
    """
    mallopt = _mallopt()
    return mallopt is not None and bool(mallopt(ARENA_MAX, 1))


def _mallopt() -> Any:
    """Return the function of glibc, or None."""
    return getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
