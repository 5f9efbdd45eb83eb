"""Ctrl-C ends a command at any time with one line and exit code 130, even while the program is loading."""

from __future__ import annotations

import contextlib
import os
import signal

INTERRUPTED = 130
WORDS = "interrupted; run the same command to resume from the last epoch in the store"


def leave_at_once(*_: object) -> None:
    """End the process on a signal; before a command begins there is nothing to clean up."""
    with contextlib.suppress(OSError):
        os.write(2, f"{WORDS}\n".encode())
    os._exit(INTERRUPTED)


def leave_on_ctrl_c() -> None:
    """Have Ctrl-C end the process at once until a command begins; a process that ignores it keeps ignoring it."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, leave_at_once)


def raise_on_ctrl_c() -> None:
    """Have Ctrl-C raise KeyboardInterrupt from now on, so that a command can clean up."""
    if signal.getsignal(signal.SIGINT) is leave_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def was_interrupted(error: BaseException) -> bool:
    """Return whether an error comes from Ctrl-C; an interrupted import may end with another error."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    return seen is not None
