"""The result of a search is correct with slow storage on a busy machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from small import write_small

ROOT = Path(__file__).parents[2]
MEASURES = ("mean_scaled_error", "forgetting", "backward_transfer", "forward_transfer")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("rounds", [pytest.param(1, marks=pytest.mark.long), pytest.param(5, marks=pytest.mark.long)])
def test_every_trial_of_a_grid_is_finished_and_equal_to_train(rounds: int, tmp_path: Path) -> None:
    """Takes about 7 minutes per round, then 3: 81 trials, two at a time, with two processes that keep the cores busy."""
    write_small(tmp_path, search={"decay_rate": [0.5, 0.7, 0.9], "epochs": [1, 2, 4]})
    support = ROOT / "tests" / "support"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{support}"}
    command = [sys.executable, str(support / "slow_grid.py"), str(tmp_path), str(rounds)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=4800, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    output = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"')))
    for each in output["rounds"]:
        result = each["result"]
        assert (len(result["trials"]), result["epochs_requested"], result["epochs_trained"]) == (81, 567, 148)
        assert max(Counter(each["trained"]).values()) == 1
        assert each["damaged"] == each["leases"] == []
        for trial, alone in zip(result["trials"], output["expected"], strict=True):
            assert "failed" not in trial
            assert trial["stopped_after"] is None
            assert (trial["config"], trial["key"]) == (alone["config"], alone["key"])
            assert trial["epochs"] == [stage["epochs"] for stage in alone["stages"]]
            for measure in MEASURES:
                assert trial["metrics"][measure] == pytest.approx(alone[measure], abs=1e-6)
