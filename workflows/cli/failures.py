"""What a person is told of an error, and the exit code: one line on stderr, no traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from data.errors import plain

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
KEPT = "what was written before is kept, and the same command goes on from there"


def words_of(error: BaseException) -> str | None:
    """Return the message of an error that no input caused: of the system or of memory; None for one of the program."""
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return f"memory is used up: use a smaller batch_size or shuffle_gb, or fewer workers; {KEPT}"
    if not isinstance(error, OSError):  # of a worker's error the cause says what it was
        return None if error.__cause__ is None else words_of(error.__cause__)
    lines = str(error).strip().splitlines()
    what = error.strerror or (lines[-1] if lines else type(error).__name__)
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in FULL:
        return f"{where}{what}: free space, or name another --storage; {KEPT}"
    if error.errno in REFUSED:
        return f"{where}{what}: change its permissions, or name another --storage or --output; {KEPT}"
    return f"{where}{what}; {KEPT}"


def complain(text: str) -> None:
    """Write a message to stderr, if there still is one."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        print(plain(text), file=sys.stderr, flush=True)  # noqa: T201


def open_missing_streams() -> None:
    """Give a process that was started without stdout or stderr streams that go nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def abandon_stdout() -> None:
    """Let what is still to be flushed to a stdout that does not take it go nowhere, so that the exit is silent."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
