"""A run remembers the calls that trained it, however often the same command is run again."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workflows import train
from workflows.relay.events import EpochDone
from workflows.report.report import make_report
from workflows.results.run_result import Session, result_from
from workflows.results.sessions import calls_of, total_seconds
from workflows.results.trained import open_run
from workflows.store.store import Store

RANDOM = np.random.default_rng(0)
PAIRS = {name: (RANDOM.normal(size=(30, 4, 2)), RANDOM.normal(size=(30, 1))) for name in ("a", "b")}


def train_small(folder: Path, **keys: Any) -> list[Session]:
    result = train(PAIRS, storage=folder, **{"epochs": 2, "hidden_size": 2, "validation_split": 0.3, **keys})
    return list(result.result.sessions)


def page(folder: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", make_report(Store(str(folder)), "relay")))


def test_a_call_that_trains_nothing_changes_neither_the_calls_nor_the_page(tmp_path: Path) -> None:
    (first,) = train_small(tmp_path)
    assert (first.epochs_trained, first.seconds.fit > 0) == (4, True)
    before = page(tmp_path)
    assert "4 epochs requested, 4 trained" in before
    assert train_small(tmp_path) == [first]
    after = page(tmp_path)
    section = re.search(r"Seconds by phase.*?All calls that trained", before)
    assert section
    assert section[0] in after
    assert "4 trained, 0 reused" in after
    two, one = train_small(tmp_path, epochs=3)[::-1]
    assert one == first
    assert two.epochs_trained == 1 + 3  # the third epoch of a, and b anew
    assert "6 epochs requested, 8 trained in 2 calls" in page(tmp_path)
    assert len(train_small(tmp_path, learning_rate=0.5)) == 1  # other epochs are another run


def test_the_epochs_of_interrupted_calls_are_counted(tmp_path: Path) -> None:
    def stop(event: object) -> None:
        if isinstance(event, EpochDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_small(tmp_path, watch=stop)
    with pytest.raises(KeyboardInterrupt):
        train_small(tmp_path, watch=stop)
    calls = train_small(tmp_path)
    assert [each.epochs_trained for each in calls] == [1, 1, 2]
    assert all(each.seconds.total > 0 for each in calls)
    assert train_small(tmp_path) == calls


def test_a_result_without_sessions_shows_its_last_call(tmp_path: Path) -> None:
    (call,) = train_small(tmp_path)
    result = open_run(Store(str(tmp_path)), "relay").result
    assert result is not None
    old = result_from({key: value for key, value in result.to_json().items() if key != "sessions"})
    assert calls_of(old) == [replace(call, when=old.when)]
    assert calls_of(replace(old, epochs_trained=0)) == []
    assert total_seconds([call, call]).fit == 2 * call.seconds.fit
