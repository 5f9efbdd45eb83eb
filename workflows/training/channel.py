"""Carry the events of a run from the workers of a Ray cluster to a watcher in this process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

MAX_RESTARTS = 3  # restarts of the process that keeps the events


class Sender:
    """A worker's end of a channel. It does not wait, and an event that cannot be sent does not end the run."""

    def __init__(self, mailbox: Any):
        self.mailbox = mailbox
        self._last: Any = None

    def __call__(self, event: object) -> None:
        """Send an event."""
        self._last = self.mailbox.put.remote(event)

    def wait(self) -> None:
        """Wait until all events have arrived."""
        import ray
        from ray.exceptions import RayActorError

        if self._last is not None:
            with contextlib.suppress(RayActorError):  # killed too often: the run reports it, its epochs are in the store
                ray.get(self._last)


class _Mailbox:
    """An actor that keeps events in order until they are taken."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def put(self, event: object) -> None:
        self.events.append(event)

    def take(self) -> list[object]:
        taken, self.events = self.events, []
        return taken


class Channel:
    """Delivers events from the workers of a Ray cluster to a watcher in this process, in order, while it is open."""

    def __init__(self, watch: Callable[[Any], None]):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._watch = watch
        # On the node of this process: other nodes may be lost during the run.
        this_node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # A killed mailbox is restarted; its pending events are lost, and the run continues.
        lasting = {"scheduling_strategy": this_node, "max_restarts": MAX_RESTARTS, "max_task_retries": MAX_RESTARTS}
        self.mailbox: Any = ray.remote(num_cpus=0)(_Mailbox).options(**lasting).remote()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Sender:
        self._thread.start()
        return Sender(self.mailbox)

    def __exit__(self, *_: object) -> None:
        import ray

        # The thread must end before the process leaves Ray: a pending call would end the process.
        self._over.set()
        self._thread.join(timeout=30)
        # A worker kept for the next task keeps its end of the channel, and so the mailbox's process.
        with contextlib.suppress(Exception):  # the cluster may be gone already
            ray.kill(self.mailbox)

    def _listen(self) -> None:
        import ray
        from ray.exceptions import RayError

        while True:
            ending = self._over.is_set()  # checked before the last emptying, so that no event is lost
            try:
                events: list[object] = ray.get(self.mailbox.take.remote())
            except RayError:  # the cluster is shutting down; the run itself reports it
                return
            for event in events:
                self._watch(event)
            if ending:
                return
            self._over.wait(0.1)
