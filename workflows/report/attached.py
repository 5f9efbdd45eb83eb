"""The page of a run that trackers take with them: written between its result and the end of its loggers."""

from __future__ import annotations

import contextlib

from data.errors import InputError
from workflows.loggers.tracked import FILE
from workflows.relay.failures import RunFailedError
from workflows.results.events import Event, Finished, Watch
from workflows.store.store import Store


def with_page(watch: Watch, storage: str) -> Watch:
    """Return a watch that also writes report.html when a run is finished that a tracker knows."""

    def see(event: Event) -> None:
        watch(event)
        if not isinstance(event, Finished):
            return
        store, name = Store(storage), event.result.name
        if FILE not in store.storage.names(f"runs/{name}"):
            return
        from workflows.report.report import make_report

        with contextlib.suppress(InputError, RunFailedError, OSError):  # a page that cannot be made ends no training
            store.write_run(name, "report.html", make_report(store, name).encode())

    return see
