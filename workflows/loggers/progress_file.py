"""Record the progress of a run, for readers during the run and after it was stopped."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from data.signed import signed
from workflows.relay.events import EpochDone, RunEvent
from workflows.relay.plan import Plan
from workflows.results.described import DescribedDataset, written_datasets
from workflows.results.run_progress import RunProgress
from workflows.results.run_result import Session
from workflows.results.trained import DATASETS_UNDER_WAY, hash_of
from workflows.store.store import Store


class Progress:
    """Keeps progress.json of a run: epochs reached and the last address.

    `described` are the descriptions of its datasets, written beside it; `recipe` is the document of the recipe. `sessions`
    are the earlier calls that trained the run. On an object store a thread writes the file, so that events do not wait.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        plan: Plan,
        described: Sequence[DescribedDataset],
        recipe: Mapping[str, Any],
        sessions: Sequence[Session] = (),
    ):
        self.store = store
        self._lock = threading.Lock()  # guards the value
        self._writing = threading.Lock()  # guards the file
        self._changed, self._over = threading.Event(), False
        self.planned = [stage.epochs for stage in plan.stages]
        written = written_datasets(described)
        now = time.time()
        self.progress = RunProgress(
            name=name,
            status="running",
            key=plan.root,
            datasets=tuple(dataset.name for dataset in plan.datasets),
            prepared=tuple(each.prepared for each in described),
            recipe=recipe,
            epochs_requested=sum(self.planned),
            epochs_reached=0,
            started=now,
            described=hash_of(written),
            when=now,
            sessions=tuple(sessions),
        )
        self._write_file(DATASETS_UNDER_WAY, written)
        self._write()
        if not store.storage.local:
            threading.Thread(target=self._write_changes, daemon=True).start()

    def __call__(self, event: RunEvent) -> None:
        """Record a committed epoch."""
        if isinstance(event, EpochDone):
            reached = sum(self.planned[: event.stage]) + event.epoch + 1
            first, trained = self.progress.first_key or event.key, self.progress.epochs_trained + 1
            changes = {"stage": event.stage, "epoch": event.epoch, "epochs_reached": reached}
            self._note(key=event.key, first_key=first, epochs_trained=trained, **changes)

    def stopped(self, status: str, message: str) -> None:
        """Record why the run ended; nothing is written after that."""
        self._over = True
        self._changed.set()  # ends the thread
        self._change(status=status, message=message)
        self._write()

    def beat(self) -> None:
        """Record that the run is alive; a run without a beat is shown as interrupted."""
        self._note()

    def _note(self, **changes: Any) -> None:
        self._change(**changes)
        if self.store.storage.local:
            self._write()
        else:
            self._changed.set()

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self.progress = replace(self.progress, **changes, when=time.time())

    def _write_changes(self) -> None:
        while self._changed.wait() and not self._over:
            self._changed.clear()
            self._write(unless_over=True)

    def _write(self, unless_over: bool = False) -> None:
        with self._writing:
            if not (unless_over and self._over):
                self._write_file("progress.json", signed(self.progress.to_json()))

    def _write_file(self, file: str, content: bytes) -> None:
        with contextlib.suppress(OSError):  # a write error here must not end the run
            self.store.write_run(self.progress.name, file, content)
