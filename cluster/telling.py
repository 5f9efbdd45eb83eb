"""No silence: what takes long says so every 15 s, also where one call into a library is what does not return."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TELL_S = 15.0


@contextmanager
def telling(say: Callable[[float], object]) -> Iterator[None]:
    """Call `say` in a thread every 15 s with the seconds since the beginning, until the context ends."""
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
