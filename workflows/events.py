"""What a run says while it goes on: small dictionaries from its first worker to whoever watches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Watch = Callable[[Event], None]


class Channel:
    """Carries events from the workers of a Ray cluster to a watcher in this process, in order."""

    def __init__(self, watch: Watch):
        from ray.util.queue import Queue

        self._watch = watch
        self.queue = Queue(actor_options={"num_cpus": 0})
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Callable[[Event], None]:
        self._thread.start()
        return self.queue.put_nowait

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=10)
        self.queue.shutdown(force=True)

    def _listen(self) -> None:
        while True:
            ending = self._over.is_set()  # looked at before the last emptying, so that nothing is left behind
            for event in self._waiting():
                self._watch(event)
            if ending:
                return
            self._over.wait(0.1)

    def _waiting(self) -> list[Event]:
        from ray.exceptions import RayError

        try:
            events: list[Event] = self.queue.get_nowait_batch(self.queue.qsize())
        except RayError:  # the cluster is going away; the run itself will say so
            self._over.set()
            return []
        return events
