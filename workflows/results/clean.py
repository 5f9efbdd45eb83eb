"""Moving a run's pointer back, which loses nothing, and removing what no run reaches."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data.errors import InputError
from workflows.relay.metrics import backward_transfer, forgetting, forward_transfer, mean_of
from workflows.store.store import Store

Facts = dict[str, Any]
RUNNING_S = 3600.0  # a run that is under way says so after every epoch; one that has been silent for longer is not


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
    result = store.result(name)
    if result is None:
        raise InputError(f"{name}: there is no finished run of this name in {store.address}")
    back = rolled_back(result, stage_number(result, to))
    store.write_run(name, "result.json", json.dumps(back, indent=1).encode())
    return back


@dataclass(frozen=True)
class Leftover:
    """Something that no run reaches."""

    path: str
    what: str
    bytes: int


def find_leftovers(store: Store) -> list[Leftover]:
    """Checkpoints and prepared datasets that no run reaches, and what interrupted writes left behind."""
    runs = [
        facts
        for name in store.storage.names("runs")
        for facts in (store.result(name), store.progress(name), store.search(name), store.searching(name))
        if facts
    ]
    keys, prepared = _reached(store, runs)
    # What a run trains is younger than it; the trials of a search that goes on take any epoch that they find.
    begun = [0.0 if "trials_asked" in run else float(run["started"]) for run in runs if _is_running(run)]
    since = min(begun, default=float("inf"))
    found = []
    for key in store.storage.names("checkpoints"):
        path = f"checkpoints/{key}"
        if key.startswith("."):
            if since == float("inf"):
                found.append(Leftover(path, "interrupted commit", store.storage.size(path)))
        elif key not in keys:
            record = store.record(key)
            if record is not None and record.when < since:
                what = "epoch of no run" if record.parent else "untrained model of no run"
                found.append(Leftover(path, what, store.storage.size(path)))
    for folder, what in (("prepared", "prepared dataset"), ("damaged", "damaged checkpoint")):
        names = [name for name in store.storage.names(folder) if name not in prepared and name != "sources"]
        found += [
            Leftover(f"{folder}/{n}", what, store.storage.size(f"{folder}/{n}")) for n in names if since == float("inf")
        ]
    return found


def _is_running(run: Facts) -> bool:
    return bool(run["status"] == "running" and time.time() - float(run["when"]) < RUNNING_S)


def _reached(store: Store, runs: list[Facts]) -> tuple[set[str], set[str]]:
    """The keys of all states that some run points at, with those before them, and the prepared datasets of all runs."""
    keys: set[str] = set()
    for run in runs:
        tips = [run["key"], *(key for stage in run.get("stages", []) for key in stage["keys"])]
        tips += run.get("kept", [])
        for tip in tips:
            key: str | None = tip
            while key is not None and key not in keys:
                keys.add(key)
                record = store.record(key)
                key = None if record is None else record.parent
    return keys, {name for run in runs for name in run.get("prepared", [])}


def clean(store: Store, dry_run: bool) -> list[Leftover]:
    """Remove what no run reaches, and return what that was; `dry_run` only looks."""
    found = find_leftovers(store)
    for leftover in [] if dry_run else found:
        folder, _, name = leftover.path.partition("/")
        if folder == "checkpoints" and not name.startswith("."):
            place = f"trash/{name}-{uuid.uuid4().hex[:8]}"
            store.remove_checkpoint(name, place)
            for path in (place, f"evaluations/{name}", f"derived/{name}"):
                store.storage.remove(path)
        else:
            store.storage.remove(leftover.path)
    return found
