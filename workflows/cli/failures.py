"""Turn an error into one line on stderr, without a traceback, and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from data.errors import plain

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Messages of C libraries and their loader, also under a limit of the address space (ulimit -v).
OUT_OF_MEMORY = ("allocate memory", "failed to map segment", "bad_alloc", "can't start new thread")
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
KEPT = "everything written before is kept; run the same command to resume"


def system_error(error: BaseException) -> str | None:
    """Return the message for an error of the system or of memory; None for an error of the program."""
    if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
        return f"out of memory: use a smaller batch_size or shuffle_gb, or fewer workers; {KEPT}"
    if not isinstance(error, OSError):  # a worker's error has the original error as its cause
        return None if error.__cause__ is None else system_error(error.__cause__)
    lines = str(error).strip().splitlines()
    reason = error.strerror or (lines[-1] if lines else type(error).__name__)
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in FULL:
        return f"{where}{reason}: free space, or name another --storage; {KEPT}"
    if error.errno in REFUSED:
        return f"{where}{reason}: change its permissions, or name another --storage or --output; {KEPT}"
    return f"{where}{reason}; {KEPT}"


def print_error(text: str) -> None:
    """Write a message to stderr, if it is still open."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        print(plain(text), file=sys.stderr, flush=True)  # noqa: T201


def open_missing_streams() -> None:
    """Replace missing stdout and stderr by streams that discard everything."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def discard_stdout() -> None:
    """Discard further output to a closed stdout, so that the exit is silent."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
