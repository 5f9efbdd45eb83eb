"""Write the report of a run for its trackers, after its result and before its loggers close."""

from __future__ import annotations

import contextlib

from data.errors import InputError
from workflows.loggers.tracked import FILE
from workflows.relay.failures import RunFailedError
from workflows.results.events import Event, Finished, Watch
from workflows.store.store import Store


def with_page(watch: Watch, storage: str) -> Watch:
    """Return a watch that also writes report.html when a tracked run has finished."""

    def watch_and_write(event: Event) -> None:
        watch(event)
        if not isinstance(event, Finished):
            return
        store, name = Store(storage), event.result.name
        if FILE not in store.storage.names(f"runs/{name}"):
            return
        from workflows.report.report import make_report

        with contextlib.suppress(InputError, RunFailedError, OSError):  # an error in the report must not end the training
            store.write_run(name, "report.html", make_report(store, name).encode())

    return watch_and_write
