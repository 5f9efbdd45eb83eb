"""The runs and searches of a store as values, whether they have ended or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from data.errors import InputError
from data.records import DamagedRecordError
from workflows.results.run_progress import RunProgress, progress_from
from workflows.results.run_result import RunResult, result_from
from workflows.results.search_result import SearchResult, SearchUnderWay, search_from, under_way_from
from workflows.store.store import Store

Run = RunResult | RunProgress
Search = SearchResult | SearchUnderWay
T = TypeVar("T")


def run_from(content: Mapping[str, Any]) -> Run:
    """Return a run from a result or a progress; raises DamagedRecordError if it is neither."""
    return result_from(content) if "stages" in content else progress_from(content)


def stored_run(store: Store, name: str) -> Run | None:
    """Return the result of a run, or its progress if that is newer; None if there is no run; raises InputError."""
    return _read(store, name, store.run(name), run_from)


def stored_result(store: Store, name: str) -> RunResult | None:
    """Return the last result of a run, whatever it does now; None if it has never ended; raises InputError."""
    return _read(store, name, store.result(name), result_from)


def stored_runs(store: Store) -> tuple[dict[str, Run], list[str]]:
    """Return all readable runs by name, latest first, and the problems of the others."""
    return _all(store, store.runs(), run_from)


def stored_search(store: Store, name: str) -> SearchResult | None:
    """Return the last result of a search; None if it has never ended; raises InputError."""
    return _read(store, name, store.search(name), search_from)


def search_under_way(store: Store, name: str) -> SearchUnderWay | None:
    """Return the progress of a search that has not ended; None if there is none; raises InputError."""
    return _read(store, name, store.searching(name), under_way_from)


def stored_searches(store: Store) -> tuple[dict[str, Search], list[str]]:
    """Return all readable searches by name, latest first, and the problems of the others."""
    return _all(
        store, store.searches(), lambda content: search_from(content) if "trials" in content else under_way_from(content)
    )


def _all(
    store: Store, contents: Mapping[str, Mapping[str, Any]], read: Callable[[Mapping[str, Any]], T]
) -> tuple[dict[str, T], list[str]]:
    found: dict[str, T] = {}
    odd: list[str] = []
    for name, content in contents.items():
        try:
            found[name] = _checked(store, name, content, read)
        except InputError as error:
            odd += error.messages
    return found, odd


def _read(store: Store, name: str, content: Mapping[str, Any] | None, read: Callable[[Mapping[str, Any]], T]) -> T | None:
    return None if content is None else _checked(store, name, content, read)


def _checked(store: Store, name: str, content: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> T:
    try:
        return read(content)
    except DamagedRecordError as error:
        raise InputError(
            f"run {name!r}: its record in {store.address}/runs/{name} cannot be read: {error}: run its train or search "
            "command again, which takes all epochs from the store"
        ) from None
