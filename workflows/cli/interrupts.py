"""Ctrl-C ends a command at any time with one line and exit code 130, even while the program is loading."""

from __future__ import annotations

import contextlib
import os
import signal
import time

INTERRUPTED = 130
PATIENCE_S = 10.0  # time for a command to clean up before another Ctrl-C ends it at once
WORDS = "interrupted; run the same command to resume from the last epoch in the store"


def leave_at_once(*_: object) -> None:
    """End the process on a signal, for the time before a command begins: there is nothing to clean up."""
    with contextlib.suppress(OSError):
        os.write(2, f"{WORDS}\n".encode())
    os._exit(INTERRUPTED)


def leave_on_ctrl_c() -> None:
    """Let Ctrl-C end the process at once until a command begins, unless the process ignores it."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, leave_at_once)


class Once:
    """Lets the first Ctrl-C, SIGTERM (a cluster stops a job) or SIGHUP raise KeyboardInterrupt, so that a command cleans up.

    A second signal within `PATIENCE_S` is ignored, a later one ends the process at once. A process that ignores Ctrl-C or
    SIGHUP (nohup) still ignores them.
    """

    def __init__(self) -> None:
        self.raised_at: float | None = None
        self.before = {}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if number == signal.SIGTERM or handler is not signal.SIG_IGN:
                self.before[number] = handler
                signal.signal(number, self._hear)

    def _hear(self, *_: object) -> None:
        if self.raised_at is None:
            self.raised_at = time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self.raised_at > PATIENCE_S:
            leave_at_once()

    def restore(self) -> None:
        """Restore the caller's signal handlers at the end of the command."""
        if self.before.get(signal.SIGINT) is not leave_at_once:
            for number, handler in self.before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not set from Python
        elif self.raised_at is None:
            signal.signal(signal.SIGINT, leave_at_once)


def was_interrupted(error: BaseException) -> bool:
    """Return whether an error comes from Ctrl-C; an interrupted import may end with another error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
