"""Record the progress of a search and the states it has reached, for `clean` and `runs`."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from types import TracebackType

from data.errors import InputError
from data.records import to_json
from data.signed import signed
from workflows.loggers.heartbeat import BEAT_S, beating
from workflows.relay.events import EpochDone
from workflows.results.events import Event, Watch
from workflows.results.search_result import SearchUnderWay
from workflows.search.run import SearchTotals
from workflows.store.store import Store

WRITE_S = 5.0  # between two writes; `clean` may remove epochs that a killed search trained after its last write


class SearchProgress:
    """Keeps searching.json of a search while it runs, and after it was stopped, until it ends.

    A thread writes it, so that the search does not wait for an object store.
    """

    def __init__(self, store: Store, name: str, prepared: list[str], num_trials: int, totals: SearchTotals):
        self.store, self.name, self.totals = store, name, totals
        self.tips: set[str] = set()  # trained epochs without a successor; earlier ones follow from them
        self.written, self.changed = 0.0, False
        self._lock = threading.Lock()  # of the tips and the state
        self.state = SearchUnderWay(name, tuple(prepared), num_trials, time.time())
        self._beats = contextlib.ExitStack()

    def watching(self, watch: Watch) -> Watch:
        """Return a watch that records events before it passes them on."""

        def record(event: Event) -> None:
            if isinstance(event, EpochDone):
                with self._lock:
                    self.tips.discard(event.parent or "")
                    self.tips.add(event.key)
            self.changed = True
            watch(event)

        return record

    def beat(self) -> None:
        """Write changes, and a sign of life every 30 s: a search that is silent for long counts as interrupted."""
        if self.changed or time.monotonic() - self.written >= BEAT_S:
            self._write()

    def __enter__(self) -> SearchProgress:
        self._write()
        self._beats.enter_context(beating(self.beat, every_s=WRITE_S))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._beats.close()
        if error is not None:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self.state = replace(self.state, status=status, message=str(error) or type(error).__name__)
        else:  # until `remove`, after search.json was written
            self.state = replace(self.state, status="failed", message="it ended before search.json was written")
        self._write()

    def remove(self) -> None:
        """Remove searching.json: the search has ended and search.json is written."""
        self.store.storage.remove(f"runs/{self.name}/searching.json")

    def _write(self) -> None:
        self.written, self.changed = time.monotonic(), False
        trials = list(self.totals.trials.values())
        ended = {trial.key for trial in trials if trial.key is not None}
        with self._lock:
            self.state = replace(
                self.state,
                when=time.time(),
                trials_ended=len(trials),
                epochs_trained=len(self.totals.trained),
                kept=tuple(sorted(self.tips | ended)),
            )
        with contextlib.suppress(OSError, InputError):  # a write error here must not end the search
            self.store.storage.create()
            self.store.write_run(self.name, "searching.json", signed(to_json(self.state)))
