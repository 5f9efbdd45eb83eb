"""Moving a run's pointer back, which loses nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from data.errors import InputError
from workflows.relay.metrics import backward_transfer, forgetting, forward_transfer, mean_of
from workflows.store.store import Store

Facts = dict[str, Any]


def stage_number(result: Facts, to: str) -> int:
    """The number of stages that are left after rolling back to the end of stage `to`: a dataset's name, or 1, 2, ..."""
    names = [stage["dataset"] for stage in result["stages"]]
    if to in names:
        return names.index(to) + 1
    if to.isascii() and to.isdigit() and 1 <= int(to) <= len(names):
        return int(to)
    raise InputError(
        f"--to {to}: run {result['name']!r} has no such stage: write one of {', '.join(names)}, or 1 to {len(names)}"
    )


def rolled_back(result: Facts, num_stages: int, evaluations: Mapping[str, Facts] | None = None) -> Facts:
    """The result as it stood after its first stages; its key is the state that the last of them handed over."""
    stages = result["stages"][:num_stages]
    matrix = result["error_matrix"]
    cut = {name: matrix[name][: num_stages + 1] for name in ("after", "validation", "scaled")}
    trained = [row[:num_stages] for row in cut["scaled"]]
    none = {"error": None, "scaled_error": None, "naive_error": None, "samples": 0}
    return {
        **result,
        "status": "rolled back",
        "key": stages[-1].get("key") or stages[-1]["keys"][stages[-1]["handed_over"] - 1],
        "stages": stages,
        "error_matrix": {**matrix, **cut},
        "test": dict(evaluations) if evaluations else dict.fromkeys(result["test"], none),
        "mean_scaled_error": mean_of(trained[-1]),
        "forgetting": forgetting(trained),
        "backward_transfer": backward_transfer(trained),
        "forward_transfer": forward_transfer(trained),
        "rolled_back_from": result["key"],
        "ended": result.get("ended", result["when"]),  # the training, which `when` tells no more
        "when": time.time(),
    }


def roll_back(store: Store, name: str, to: str) -> Facts:
    """Point a run at the end of an earlier stage. Its later checkpoints stay until `clean`; training it again goes on."""
    record = store.ended(name)
    if record is None:
        raise InputError(f"{name}: there is no finished run of this name in {store.address}")
    back = rolled_back(record.result, stage_number(record.result, to))
    store.publish(name, replace(record, result=back))
    return back
