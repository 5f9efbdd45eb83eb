"""How far a run is, for whoever looks at it while it goes on or after it was stopped."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any

from data.records import signed
from workflows.relay.events import EpochDone, RunEvent
from workflows.relay.plan import Plan
from workflows.results.trained import DATASETS_UNDER_WAY, hash_of
from workflows.store.store import Store

Facts = dict[str, Any]


class Progress:
    """Keeps progress.json of a run: how far it is, and the last address that it reached.

    `described` is what is kept of its datasets, beside it; `recipe` is the document of the recipe.
    """

    def __init__(self, store: Store, name: str, plan: Plan, described: list[Facts], recipe: Facts):
        self.store, self.name = store, name
        self._lock = threading.Lock()
        self.planned = [stage.epochs for stage in plan.stages]
        self.facts: Facts = {
            "name": name,
            "status": "running",
            "key": plan.root,
            "datasets": [dataset.name for dataset in plan.datasets],
            "prepared": [each["prepared"] for each in described],
            "recipe": recipe,
            "epochs_requested": sum(self.planned),
            "epochs_reached": 0,
            "started": time.time(),
        }
        written = json.dumps(described, indent=1).encode()
        self.facts["described"] = hash_of(written)
        self._write_file(DATASETS_UNDER_WAY, written)
        self._write()

    def __call__(self, event: RunEvent) -> None:
        """Note an epoch that was committed."""
        if isinstance(event, EpochDone):
            reached = sum(self.planned[: event.stage]) + event.epoch + 1
            with self._lock:
                self.facts.update(key=event.key, stage=event.stage, epoch=event.epoch, epochs_reached=reached)
            self._write()

    def stopped(self, status: str, message: str) -> None:
        """Note why the run does not go on."""
        with self._lock:
            self.facts.update(status=status, message=message)
        self._write()

    def beat(self) -> None:
        """Say that the run is alive: one that is silent for long is shown as interrupted."""
        self._write()

    def _write(self) -> None:
        with self._lock:
            self.facts["when"] = time.time()
            self._write_file("progress.json", signed(self.facts))

    def _write_file(self, file: str, content: bytes) -> None:
        with contextlib.suppress(OSError):  # a note that cannot be written must not end the run
            self.store.write_run(self.name, file, content)
