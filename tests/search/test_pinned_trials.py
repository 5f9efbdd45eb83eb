"""The workers of a data-parallel trial are on one node of a Ray cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import write_small

pytestmark = [pytest.mark.ray, pytest.mark.long]


def test_on_two_nodes_of_three_cores_each_trial_of_two_workers_has_one_for_itself(tmp_path: Path) -> None:
    """Takes about 60 s. By the number of cores alone, three trials would run at a time, one of them on both nodes."""
    recipe = write_small(tmp_path, search={"decay_rate": [0.3, 0.5, 0.7, 0.9], "epochs": [1], "workers_per_trial": 2})
    program = Path(__file__).parents[1] / "support" / "pinned_trials.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, str(program), str(recipe), str(tmp_path / "runs")]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    facts = json.loads(process.stdout.splitlines()[-1])
    assert (facts["num_concurrent"], facts["ended"], facts["failed"]) == (2, 4, 0)
    assert len(facts["groups"]) == 2
    assert {strategy for strategy, _ in facts["groups"]} == {"STRICT_PACK"}
    assert all(len(set(nodes)) == 1 and len(nodes) == 2 for _, nodes in facts["groups"])
    assert len({nodes[0] for _, nodes in facts["groups"]}) == 2
