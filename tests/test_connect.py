"""What Ray says: kept for the log, and shown only to those who ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = "import logging, cluster.connect as c; c._capture_log(); logging.getLogger('ray.data').warning('said by Ray')"


@pytest.mark.parametrize("verbose", [False, True])
def test_ray_is_heard_on_the_screen_only_where_that_is_wanted(verbose: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "LSTM_RELAY_VERBOSE"}
    environment |= {"LSTM_RELAY_VERBOSE": "1"} if verbose else {}
    command = [sys.executable, "-c", CODE]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert ("said by Ray" in found.stderr) == verbose
