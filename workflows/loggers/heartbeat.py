"""Write a run's progress every 30 s, so that a run whose process died is noticed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from workflows.store.store import Store

BEAT_S = 30.0


@contextlib.contextmanager
def beating(*actions: Callable[[], object], every_s: float = BEAT_S) -> Iterator[None]:
    """Call the actions every 30 s in a thread until the context ends; a write error does not end the run."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(every_s):
            for action in actions:
                with contextlib.suppress(OSError):  # the storage cannot be reached: the next beat tries again
                    action()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=every_s)


class Copy:
    """A local file that is copied to a run's folder when it has grown."""

    def __init__(self, store: Store, name: str, source: Path):
        self.store, self.name, self.source, self.copied = store, name, source, 0

    def __call__(self) -> None:
        """Copy the file if it has grown since the last copy."""
        size = self.source.stat().st_size if self.source.exists() else 0
        if not self.store.storage.local and size > self.copied:
            self.store.write_run(self.name, self.source.name, self.source.read_bytes())
            self.copied = size
