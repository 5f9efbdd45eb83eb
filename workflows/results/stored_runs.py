"""The runs of a store as values, whether they have ended or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.errors import InputError
from data.records import DamagedRecordError
from workflows.results.run_progress import RunProgress, progress_from
from workflows.results.run_result import RunResult, result_from
from workflows.store.store import Store

Run = RunResult | RunProgress


def run_from(content: Mapping[str, Any]) -> Run:
    """Return the run of a result or a progress; raises DamagedRecordError where it is neither."""
    return result_from(content) if "stages" in content else progress_from(content)


def stored_run(store: Store, name: str) -> Run | None:
    """Return what a run came to, or how far it is where that is newer; None where there is none; raises InputError."""
    content = store.run(name)
    return None if content is None else _checked(store, name, content)


def stored_result(store: Store, name: str) -> RunResult | None:
    """Return what a run last came to, whatever it does now; None where it has not ended once; raises InputError."""
    content = store.result(name)
    found = None if content is None else _checked(store, name, content)
    return found if isinstance(found, RunResult) else None


def stored_runs(store: Store) -> tuple[dict[str, Run], list[str]]:
    """Return all runs that can be read by name, the latest first, and what is wrong with the others."""
    found: dict[str, Run] = {}
    odd: list[str] = []
    for name, content in store.runs().items():
        try:
            found[name] = _checked(store, name, content)
        except InputError as error:
            odd += error.messages
    return found, odd


def _checked(store: Store, name: str, content: Mapping[str, Any]) -> Run:
    try:
        return run_from(content)
    except DamagedRecordError as error:
        raise InputError(
            f"run {name!r}: its record in {store.address}/runs/{name} cannot be read: {error}: run its train command "
            "again, which takes all epochs from the store"
        ) from None
