"""A running or stopped search is listed by `runs` and kept by `clean`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_store import state
from typer.testing import CliRunner

from data.records import to_json
from workflows.cli.commands import app
from workflows.relay.events import EpochDone
from workflows.report.report import make_report
from workflows.results.clean import find_leftovers
from workflows.results.search_result import SearchResult, SearchUnderWay, TrialResult
from workflows.search.progress import SearchProgress
from workflows.search.run import SearchTotals
from workflows.store.alive import SILENT_S
from workflows.store.kept import EpochRecord
from workflows.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with two chains of epochs from one root, an unused epoch, and two prepared datasets."""
    store = Store(str(tmp_path / "runs"))
    store.storage.create()
    store.commit("root", state(), EpochRecord("root", None))
    for key, parent in (("a1", "root"), ("a2", "a1"), ("b1", "root"), ("nobody", "root")):
        store.commit(key, state(), EpochRecord(key, parent))
    for name in ("mine", "other"):
        store.storage.write(f"prepared/{name}/manifest.json", json.dumps({"fingerprint": name}).encode())
    return store


def epoch(key: str, parent: str) -> EpochDone:
    return EpochDone(key, parent, "anvil", 0, 0, 1, 0.1, 1.0, 10, 0.1, 0.1, 0.0)


def left(store: Store) -> set[str]:
    return {leftover.path for leftover in find_leftovers(Store(store.address))}


def test_a_search_keeps_what_it_has_reached_until_it_is_ended(store: Store) -> None:
    heard: list[str] = []
    note = SearchProgress(store, "tried", ["mine"], 4, SearchTotals())
    assert left(store) == {f"checkpoints/{key}" for key in ("root", "a1", "a2", "b1", "nobody")} | {
        "prepared/mine",
        "prepared/other",
    }

    def go_on() -> None:
        with note:
            watch = note.watching(lambda event: heard.append(event.key) if isinstance(event, EpochDone) else None)
            for key, parent in (("a1", "root"), ("b1", "root"), ("a2", "a1")):
                watch(epoch(key, parent))
            store.commit("young", state(), EpochRecord("young", "root"))
            assert left(store) == set()  # its trials may take any epoch that they find
            assert Store(store.address).searches(dict, dict)[0]["tried"]["status"] == "running"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go_on()
    assert heard == ["a1", "b1", "a2"]
    stopped = Store(store.address).searches(dict, dict)[0]["tried"]
    assert (stopped["status"], stopped["kept"]) == ("interrupted", ["a2", "b1"])
    assert left(store) == {"checkpoints/nobody", "checkpoints/young", "prepared/other"}
    note.remove()
    assert "checkpoints/a2" in left(store)


def test_a_trial_that_came_out_of_the_store_is_kept_too(store: Store) -> None:
    totals = SearchTotals({0: TrialResult(0, {}, key="b1"), 1: TrialResult(1, {}, failed="no number")})
    with pytest.raises(KeyboardInterrupt), SearchProgress(store, "tried", [], 2, totals):
        raise KeyboardInterrupt
    assert "checkpoints/b1" not in left(store)
    assert "checkpoints/a2" in left(store)


def test_log_of_a_search_is_refused_with_a_reason(store: Store) -> None:
    ended = SearchResult("tried", "finished", 1.0, "grid", "none", (), (), None, (), None, (), 0, 0, 0, None, 1.0).to_json()
    under_way = to_json(SearchUnderWay("under-way", (), 4, 0.0, "interrupted", when=1.0, trials_ended=1))
    store.write_run("tried", "search.json", json.dumps(ended).encode())
    store.write_run("under-way", "searching.json", json.dumps(under_way).encode())
    result = CliRunner().invoke(app, ["log", "under-way", "--storage", store.address])
    assert "under-way: this is a search that has not ended (interrupted)" in result.stderr
    result = CliRunner().invoke(app, ["log", "tried", "--storage", store.address])
    assert result.exit_code == 2
    assert "tried: this is a search: train its best" in result.stderr


def test_runs_and_report_show_a_search_that_has_not_ended(store: Store) -> None:
    with SearchProgress(store, "tried", [], 4, SearchTotals({0: TrialResult(0, {}, key="b1")}, {"b1"}, ["b1"])):
        result = CliRunner().invoke(app, ["runs", "--storage", store.address])
        page = make_report(store, "tried")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "tried" in line)
    assert "running" in line
    assert "1 of 4" in line
    assert "has not finished (running" in page
    assert "has not finished (failed" in make_report(store, "tried")  # it ended without a search.json


def test_a_dead_search_is_shown_as_interrupted_and_a_living_one_as_running(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = SearchProgress(store, "tried", [], 4, SearchTotals())
    note._write()
    later = note.state.when + SILENT_S + 1
    assert note.store.searches(dict, dict)[0]["tried"]["status"] == "running"
    monkeypatch.setattr("workflows.store.runs.time.time", lambda: later)
    assert note.store.searches(dict, dict)[0]["tried"]["status"] == "interrupted"
    note.written = float("-inf")
    note.beat()
    assert note.store.searches(dict, dict)[0]["tried"]["status"] == "running"
    first = note.written
    note.beat()  # nothing has changed since
    assert note.written == first
    note.watching(lambda event: None)(epoch("a1", "root"))
    note.beat()
    assert note.store.searches(dict, dict)[0]["tried"]["kept"] == ["a1"]
