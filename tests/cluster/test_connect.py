"""Connecting to Ray: what it says is kept and shown only to those who ask, and it starts no process for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cluster.connect
from cluster.placement import Placement
from workflows.training.workers import trainer_for

ROOT = Path(__file__).parents[2]
CODE = "import logging, cluster.connect as c; c._capture_log(); logging.getLogger('ray.data').warning('said by Ray')"


@pytest.mark.parametrize("verbose", [False, True])
def test_ray_is_heard_on_the_screen_only_where_that_is_wanted(verbose: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "LSTM_RELAY_VERBOSE"}
    environment |= {"LSTM_RELAY_VERBOSE": "1"} if verbose else {}
    command = [sys.executable, "-c", CODE]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert ("said by Ray" in found.stderr) == verbose


@pytest.mark.parametrize("own", [True, False])
def test_a_group_has_no_helpers_that_do_nothing_for_it(own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would start a process; the cleaner is kept where a cluster outlives this process, and not waited for long."""
    monkeypatch.setattr(cluster.connect, "_own_cluster", own)
    trainer = trainer_for(lambda config: None, {}, Placement(2, 2, False, 1.0, ""), str(tmp_path))
    callbacks = {type(each).__name__: each for each in trainer._create_default_callbacks()}
    assert {"BackendSetupCallback", "WorkingDirectorySetupCallback"} <= set(callbacks)
    assert "DatasetsCallback" not in callbacks
    assert ("PlacementGroupCleanerCallback" in callbacks) != own
    if not own:
        assert callbacks["PlacementGroupCleanerCallback"]._stop_timeout == 2.0
