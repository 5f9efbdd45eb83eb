"""A storage is probed before anything is prepared; a silent run is not shown as running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import workflows.store.probe
from data.errors import InputError
from workflows.store.alive import SILENT_S, as_seen
from workflows.store.probe import Step, check_storage, probe
from workflows.store.storage import open_storage
from workflows.store.store import Store

STEPS = ("list", "write", "read", "create once", "delete")


def test_a_bucket_that_works_passes_every_step_and_keeps_nothing(bucket: str) -> None:
    storage = open_storage(f"{bucket}/probed")
    steps = probe(storage)
    assert [(step.name, step.error) for step in steps] == [(name, "") for name in STEPS]
    assert storage.names("") == []
    check_storage(storage)


def test_a_bucket_that_does_not_exist_is_refused_at_once(bucket: str) -> None:
    with pytest.raises(InputError, match="the bucket of s3://no-such-bucket/runs does not exist: create it"):
        check_storage(open_storage("s3://no-such-bucket/runs"))


def test_a_store_that_does_not_answer_is_refused_after_a_wait(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(workflows.store.probe, "AWAY_LIMIT_S", 0.2)
    monkeypatch.setattr(workflows.store.probe, "RETRY_S", 0.3)
    messages: list[str] = []
    with pytest.raises(InputError, match="does not answer: check the address, AWS_ENDPOINT_URL"):
        check_storage(open_storage("s3://relay/runs"), messages.append)
    assert messages[0].startswith("waiting for the storage s3://relay/runs since")


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (
            "write",
            "AWS Error ACCESS_DENIED during PutObject operation: no",
            "the right to write is missing: grant s3:PutObject",
        ),
        (
            "list",
            "AWS Error UNKNOWN (HTTP status 403) during ListObjectsV2",
            "the right to list is missing: grant s3:ListBuck",
        ),
        ("delete", "AWS Error ACCESS_DENIED during DeleteObject", "the right to delete is missing: grant s3:DeleteObject"),
        ("list", "AWS Error INVALID_ACCESS_KEY_ID", "the credentials are not accepted"),
        ("list", "AWS Error NETWORK_CONNECTION during ListObjectsV2: curlCode: 7", "does not answer"),
    ],
)
def test_a_missing_right_is_named_with_the_action_to_grant(step: str, error: str, message: str) -> None:
    result = Step(step, 0.0, error)
    assert message in result.advice("s3://relay/runs")
    assert result.away == ("answer" in message)


def test_a_run_without_a_sign_of_life_is_interrupted(tmp_path: Path) -> None:
    running: dict[str, Any] = {"status": "running", "when": 1000.0, "name": "a"}
    assert as_seen(running, 1000 + SILENT_S - 1)["status"] == "running"
    silent = as_seen(running, 1000 + 600)
    assert silent["status"] == "interrupted"
    assert silent["message"].startswith("its process has given no sign of life for 10 min")
    assert as_seen({**running, "status": "failed"}, 1e9)["status"] == "failed"
    store = Store(str(tmp_path))
    known = {"status": "running", "when": 1.0, "name": "a", "key": "k", "datasets": [], "epochs_requested": 1}
    store.write_run("a", "progress.json", json.dumps(known).encode())
    assert store.runs(dict)[0]["a"]["status"] == "interrupted"
