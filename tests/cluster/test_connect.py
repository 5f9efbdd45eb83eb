"""Connecting to Ray: its messages are shown on request only, and it starts no unneeded process."""

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
def test_messages_of_ray_are_printed_only_in_verbose_mode(verbose: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "LSTM_RELAY_VERBOSE"}
    environment |= {"LSTM_RELAY_VERBOSE": "1"} if verbose else {}
    command = [sys.executable, "-c", CODE]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert ("said by Ray" in process.stderr) == verbose


@pytest.mark.parametrize("own_cluster", [True, False])
def test_a_worker_group_has_no_unneeded_callbacks(
    own_cluster: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drop callbacks that each start a process; keep the cleaner, with a short timeout, on a cluster of other owners."""
    monkeypatch.setattr(cluster.connect, "_own_cluster", own_cluster)
    trainer = trainer_for(lambda config: None, {}, Placement(2, 2, False, 1.0, ""), str(tmp_path))
    callbacks = {type(each).__name__: each for each in trainer._create_default_callbacks()}
    assert {"BackendSetupCallback", "WorkingDirectorySetupCallback"} <= set(callbacks)
    assert "DatasetsCallback" not in callbacks
    assert ("PlacementGroupCleanerCallback" in callbacks) != own_cluster
    if not own_cluster:
        assert callbacks["PlacementGroupCleanerCallback"]._stop_timeout == 2.0
