"""The runs and searches of a store as values, whether they have ended or not."""

from __future__ import annotations

from data.records import Json
from workflows.results.run_progress import RunProgress, progress_from
from workflows.results.run_result import RunResult, result_from
from workflows.results.search_result import SearchResult, SearchUnderWay, search_from, under_way_from
from workflows.store.store import Store

Run = RunResult | RunProgress
Search = SearchResult | SearchUnderWay


def run_from(content: Json) -> Run:
    """Return a run from a result or a progress; raises DamagedRecordError if it is neither."""
    return result_from(content) if "stages" in content else progress_from(content)


def stored_run(store: Store, name: str) -> Run | None:
    """Return the result of a run, or its progress if that is newer; None if there is no run; raises InputError."""
    return store.run(name, run_from)


def stored_result(store: Store, name: str) -> RunResult | None:
    """Return the last result of a run, whatever it does now; None if it has never ended; raises InputError."""
    return store.result(name, result_from)


def stored_progress(store: Store, name: str) -> RunProgress | None:
    """Return the progress of a run that has not ended; None if there is none; raises InputError."""
    return store.progress(name, progress_from)


def stored_runs(store: Store) -> tuple[dict[str, Run], list[str]]:
    """Return all readable runs by name, latest first, and the problems of the others."""
    return store.runs(run_from)


def stored_search(store: Store, name: str) -> SearchResult | None:
    """Return the last result of a search; None if it has never ended; raises InputError."""
    return store.search(name, search_from)


def search_under_way(store: Store, name: str) -> SearchUnderWay | None:
    """Return the progress of a search that has not ended; None if there is none; raises InputError."""
    return store.searching(name, under_way_from)


def stored_searches(store: Store) -> tuple[dict[str, Search], list[str]]:
    """Return all readable searches by name, latest first, and the problems of the others."""
    return store.searches(under_way_from, search_from)
