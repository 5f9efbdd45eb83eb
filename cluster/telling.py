"""Progress messages of long waits every 15 s, even while a single call into a library does not return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TELL_S = 15.0


@contextmanager
def telling(say: Callable[[float], object]) -> Iterator[None]:
    """Call `say` from a thread every 15 s with the seconds since the start, until the context ends."""
    over, started = threading.Event(), time.monotonic()

    def tell() -> None:
        while not over.wait(TELL_S):
            say(time.monotonic() - started)

    thread = threading.Thread(target=tell, name="telling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
