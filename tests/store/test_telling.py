"""Messages of a wait name its reason and duration, and the progress file does not delay a run."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import cluster.telling
from cluster.capacity import Node
from cluster.recovery import Start
from cluster.telling import TELL_S, telling
from workflows.loggers.progress_file import Progress
from workflows.relay.claims import Claims
from workflows.relay.events import EpochDone, Waiting, Working
from workflows.relay.walk import Walker
from workflows.search.run import Run
from workflows.store.store import Store
from workflows.training import attempts

PATIENCE_S = 60.0  # limit of these tests for events that take milliseconds


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.telling, "TELL_S", 0.01)


@pytest.mark.usefixtures("soon")
def test_a_message_is_repeated_until_the_end_and_never_after_it() -> None:
    seconds: list[float] = []
    enough = threading.Event()

    def say(waited: float) -> None:
        seconds.append(waited)
        if len(seconds) == 3:
            enough.set()

    with telling(say):
        assert enough.wait(PATIENCE_S)
    count = len(seconds)
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0.01
    assert not any(thread.name == "telling" for thread in threading.enumerate())
    assert len(seconds) == count


@pytest.mark.usefixtures("soon")
def test_a_worker_reports_that_an_object_store_does_not_answer() -> None:
    events: list[Any] = []
    reported = threading.Event()

    def emit(event: Any) -> None:
        events.append(event)
        reported.set()

    def walker(local: bool) -> Walker:
        storage = SimpleNamespace(local=local, address="s3://bucket/runs")
        return cast("Walker", SimpleNamespace(store=SimpleNamespace(storage=storage), emit=emit))

    assert Walker._with_retries(walker(local=False), lambda: reported.wait(PATIENCE_S)) is True
    assert events[0] == Waiting("waiting for the storage s3://bucket/runs since 0 s")
    before = len(events)
    Walker._with_retries(walker(local=True), lambda: None)  # a folder answers at once: no thread is started for it
    assert len(events) == before


def test_waiting_for_another_process_is_reported_every_15_s(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    now = 100.0
    monkeypatch.setattr("workflows.relay.claims.time.monotonic", lambda: now)
    claims = Claims(cast("Any", None), cast("Any", None), events.append)
    claims.since = 97.0
    for passed in (0.0, 3.0, TELL_S, 1.0):
        now += passed
        claims._tell(cast("Any", None))
    assert events == [
        Waiting("another process measures this: waiting for it since 3 s"),
        Waiting("another process measures this: waiting for it since 21 s"),
    ]


def epoch(number: int) -> EpochDone:
    return EpochDone(f"k{number}", None, "a", 0, number, 5, 0.1, 0.5, 10, 1.0, 1.1, 0.0)


class SlowStore:
    """An object store in which each write waits for a gate."""

    address = "s3://bucket/runs"

    def __init__(self) -> None:
        self.storage = SimpleNamespace(local=False)
        self.written: list[dict[str, Any]] = []
        self.gate, self.began = threading.Event(), threading.Event()
        self.gate.set()

    def write_run(self, _name: str, file: str, content: bytes) -> None:
        self.began.set()
        assert self.gate.wait(PATIENCE_S), "the run waited for its progress file"
        if file == "progress.json":
            self.written.append(json.loads(content))


def progress(store: Any) -> Progress:
    plan = SimpleNamespace(root="root", stages=[SimpleNamespace(epochs=5)], datasets=[SimpleNamespace(name="a")])
    return Progress(store, "run", cast("Any", plan), [], {})


def test_a_run_does_not_wait_for_an_object_store_to_take_its_progress() -> None:
    store = SlowStore()
    note = progress(store)
    store.gate.clear()
    store.began.clear()
    for number in range(3):
        note(epoch(number))
    assert store.began.wait(PATIENCE_S)
    note(epoch(3))  # while a write is under way
    store.gate.set()
    note.stopped("failed", "why")
    last = store.written[-1]
    assert (last["status"], last["message"], last["epochs_reached"]) == ("failed", "why", 4)
    count = len(store.written)
    note.beat()  # a beat that comes late does not say that the run goes on
    assert note.progress.status == "failed"
    assert all(each["status"] == "failed" for each in store.written[count - 1 :])


def test_a_folder_has_the_progress_at_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    note = progress(store)
    note(epoch(1))
    kept = json.loads((tmp_path / "runs" / "run" / "progress.json").read_text())
    assert kept["epochs_reached"] == 2
    assert kept["status"] == "running"


def test_a_search_reports_that_no_trial_runs_and_which_cores_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    now = 100.0
    monkeypatch.setattr("workflows.search.run.time.monotonic", lambda: now)
    monkeypatch.setattr("workflows.search.run.free_nodes", lambda: (Node("w1", 0.0), Node("w2", 0.5)))
    run = cast("Any", SimpleNamespace(watch=events.append, idle_since=90.0))
    Run.report_idle(run, 0.0)
    assert events == []
    now = 120.0
    Run.report_idle(run, 0.0)
    assert events == [Waiting("trials start or wait for a core since 30 s: cores w2 0.5 free")]
    run.idle_since = None  # one trains
    Run.report_idle(run, 0.0)
    assert len(events) == 1


def test_starting_workers_are_reported_until_they_work() -> None:
    events: list[Any] = []
    group = attempts.Group()
    attempts._tell_start(Start(1, 2), group, events.append, 15.1)
    group.hear(Working(2, ("w1", "w2")))
    attempts._tell_start(Start(2, 2), group, events.append, 30.0)
    assert events == [Waiting("starting 1 worker since 15 s")]
