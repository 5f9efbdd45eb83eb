"""search.json as a value: written and read, also without a format number as in earlier versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from searches import search_result

from data.records import DamagedRecordError
from workflows.loggers.search_terminal import best_table, search_words
from workflows.report.report import make_report
from workflows.results.search_result import TrialMetrics, TrialResult, search_from
from workflows.store.store import Store

BEFORE: dict[str, Any] = {
    "name": "old",
    "status": "finished",
    "when": 1790000000.0,
    "algorithm": "random",
    "scheduler": "asha",
    "objectives": ["mean_scaled_error"],
    "trials": [
        {
            "number": 0,
            "config": {"training.decay_rate": 0.5, "datasets.a.epochs": 2},
            "metrics": {
                "mean_scaled_error": 0.4, "forgetting": -0.1, "backward_transfer": 0.0, "forward_transfer": 0.2,
                "test_mean_scaled_error": 0.5,
            },
            "key": "0123", "stopped_after": None, "epochs": [2, 1], "samples": 300,
        },
        {
            "number": 1, "config": {"training.decay_rate": 0.9, "datasets.a.epochs": 1},
            "metrics": {"mean_scaled_error": 0.8, "forgetting": None}, "key": "4567", "stopped_after": "a", "epochs": [1],
            "samples": 100,
        },
        {
            "number": 2, "config": {"training.decay_rate": 0.9, "datasets.a.epochs": 2}, "metrics": {}, "key": None,
            "stopped_after": None, "epochs": [], "samples": 0, "failed": "no number",
        },
    ],
    "best": 0, "pareto": [0], "key": "0123", "kept": ["0123"], "epochs_requested": 4, "epochs_trained": 4,
    "epochs_distinct": 4, "ratio": 1.0, "seconds": 3.0, "versions": {"ray": "2.60.0"}, "prepared": ["ab"],
}  # fmt: skip


def test_a_search_json_without_a_format_is_read_and_shown(tmp_path: Path) -> None:
    result = search_from(BEFORE)
    assert [len(each) for each in (result.complete, result.stopped, result.failed)] == [1, 1, 1]
    assert result.best_trial is result.trials[0]
    store = Store(str(tmp_path))
    store.storage.create()
    store.write_run("old", "search.json", json.dumps(BEFORE).encode())
    page = make_report(store, "old")
    assert "3 trials (random, scheduler asha): 1 complete, 1 stopped early, 1 failed" in page
    assert "trial 2 failed: no number" in page
    assert search_words(result).startswith("3 trials in 3.0 s, 1 stopped early, 1 failed")
    assert best_table(result).row_count == 1


def test_a_search_result_is_written_and_read_and_a_damaged_one_is_refused() -> None:
    trials = [
        TrialResult(0, {"a": 1}, TrialMetrics(0.5, 0.1, 0.0, 0.0, 0.6), "k0", "x", (2,), 20, level=1),
        TrialResult(1, {"a": 1, "b": "y"}, TrialMetrics(0.4, 0.0), "k1", None, (2, 1), 30, level=2, parent=0),
        TrialResult(2, {}, failed="why"),
    ]
    result = search_result(trials, beam_width=4, best=1, pareto=(1,))
    written = json.loads(json.dumps(result.to_json()))
    assert search_from(written) == result
    assert written["format"] == 1
    assert "beam_width" not in search_result(trials).to_json()
    assert "level" not in TrialResult(0, {}).to_json()
    assert [trial.number for trial in result.way_to_best] == [0, 1]
    with pytest.raises(DamagedRecordError, match=r"trials\.0\.number"):
        search_from({**written, "trials": [{**written["trials"][0], "number": "first"}]})


def test_an_objective_counts_forgetting_from_zero() -> None:
    assert TrialMetrics(1.0, -0.29).objective("forgetting") == 0.0
    assert TrialMetrics(1.0, 0.29).objective("forgetting") == 0.29
    assert TrialMetrics(1.0).objective("forgetting") == 0.0
    assert TrialMetrics().objective("mean_scaled_error") > 1e9
