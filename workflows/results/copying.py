"""Copy a run to another storage with everything it needs: states, evaluations, and prepared rows of its datasets."""

from __future__ import annotations

from data.errors import InputError
from data.prepared.manifest import MANIFEST
from workflows.results.run_result import RunResult, result_from
from workflows.results.stored_runs import stored_result
from workflows.results.trained import TrainedRun
from workflows.store.storage import Storage
from workflows.store.store import Store

LAST = {"checkpoints": "facts.json", "prepared": MANIFEST}  # the file that completes a folder


def copy_run(run: TrainedRun, source: Store, to: Store) -> None:
    """Copy a finished run; files that exist in the other storage stay unchanged.

    Raises InputError if that storage has another run of this name, or if this run was trained again after it was opened.
    """
    record = source.ended(run.name)
    if record is None or (result := result_from(record.result)).key != run.key:
        raise InputError(f"run {run.name!r} was trained again since it was opened: save its latest result")
    other = stored_result(to, run.name)
    if other is not None and other.key != run.key:
        raise InputError(f"{to.address} has another run {run.name!r}: save to another storage, or train with another name")
    with source.using("save"):
        to.storage.create()
        with to.using("save"):
            for dataset in run.datasets:
                _copy_folder(source.storage, to.storage, "prepared", dataset.prepared.folder.name)
            for key in _state_keys(source, result):
                _copy_folder(source.storage, to.storage, "checkpoints", key)
                for name in source.storage.names(f"evaluations/{key}"):
                    path = f"evaluations/{key}/{name}"
                    to.storage.create_file(path, source.storage.read(path))
            to.publish(run.name, record)


def _state_keys(store: Store, result: RunResult) -> list[str]:
    """Return the keys of a run's states and of those before them, oldest first."""
    keys: dict[str, None] = {}
    for tip in [result.key, *(key for stage in result.stages for key in [*stage.keys, stage.key])]:
        key = tip
        while key is not None and key not in keys:
            keys[key] = None
            record = store.record(key)
            key = None if record is None else record.parent
    return list(reversed(keys))


def _copy_folder(source: Storage, to: Storage, kind: str, name: str) -> None:
    last = LAST[kind]
    names, copied = source.names(f"{kind}/{name}"), to.names(f"{kind}/{name}")
    if last not in names or last in copied:
        return
    if kind == "checkpoints":
        files = {each: source.read(f"{kind}/{name}/{each}") for each in sorted(names, key=lambda each: each == last)}
        to.publish(f"{kind}/{name}", files)
        return
    for each in sorted(names, key=lambda each: each == last):  # one part at a time: all rows may exceed the memory
        if not each.startswith(".") and each != "origin.json":
            to.write(f"{kind}/{name}/{each}", source.read(f"{kind}/{name}/{each}"))
