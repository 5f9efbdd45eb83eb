"""Report metrics to Ray Train after each stage, for its dashboard and `Result`.

A report waits for the controller and for all workers, 0.2 s. So there is at most one every 5 s, and always the last one.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflows.relay.events import EvaluationDone

if TYPE_CHECKING:  # it imports torch
    from workflows.fit.group import Group

EVERY_S = 5.0


class StageReports:
    """Reports on all workers of a group at the same point; call it with every evaluation."""

    def __init__(self, group: Group, num_stages: int, report: Callable[[dict[str, Any], bool], None] | None = None):
        self.group, self.num_stages = group, num_stages
        self.report = report or _report
        self.stage, self.reported = 0, float("-inf")

    def __call__(self, done: EvaluationDone) -> None:
        """Report the first evaluation after a stage, if it is time."""
        if done.split != "validation" or done.stage <= self.stage:
            return
        self.stage = done.stage
        due = done.stage == self.num_stages or time.monotonic() - self.reported >= EVERY_S
        if not self.group.from_first(due):  # clocks differ, so one worker decides
            return
        self.reported = time.monotonic()
        known = [error for error in done.errors.values() if error is not None]
        metrics: dict[str, Any] = {"stage": done.stage, "stages": self.num_stages, "key": done.key}
        metrics |= {f"error/{name}": error for name, error in done.errors.items() if error is not None}
        if known:
            metrics["mean_error"] = sum(known) / len(known)
        self.report(metrics, self.group.rank == 0)


def _report(metrics: dict[str, Any], first: bool) -> None:
    """Report to Ray Train; the first worker adds a checkpoint because `Result` has no metrics without one."""
    import ray.train

    if not first:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        (Path(folder) / "stage.json").write_text(json.dumps(metrics))
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
