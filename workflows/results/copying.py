"""Copy a run to another storage with everything it needs: states, evaluations, and the rows of its datasets."""

from __future__ import annotations

from data.errors import InputError
from data.prepared.manifest import MANIFEST
from workflows.results.trained import TrainedRun
from workflows.store.storage import Storage
from workflows.store.store import Store

LAST = {"checkpoints": "facts.json", "prepared": MANIFEST}  # the file that completes a folder


def copy_run(run: TrainedRun, source: Store, to: Store) -> None:
    """Copy a finished run; what exists in the other storage stays unchanged.

    Raises InputError if it has another run of this name, or if this run was trained again since it was opened.
    """
    record = source.ended(run.name)
    if record is None or record.result["key"] != run.key:
        raise InputError(f"run {run.name!r} was trained again since: save its latest result")
    there = to.result(run.name)
    if there is not None and there["key"] != run.key:
        raise InputError(f"{to.address} has another run {run.name!r}: save to another place, or train with another name")
    with source.using("save"):
        to.storage.create()
        with to.using("save"):
            for dataset in run.datasets:
                _copy_folder(source.storage, to.storage, "prepared", dataset.prepared.folder.name)
            for key in _states(source, record.result):
                _copy_folder(source.storage, to.storage, "checkpoints", key)
                for name in source.storage.names(f"evaluations/{key}"):
                    path = f"evaluations/{key}/{name}"
                    to.storage.create_file(path, source.storage.read(path))
            to.publish(run.name, record)


def _states(store: Store, result: dict[str, object]) -> list[str]:
    """Return the states of a run and those before them, oldest first."""
    stages = result["stages"]
    assert isinstance(stages, list)
    found: dict[str, None] = {}
    for tip in [result["key"], *(key for stage in stages for key in [*stage["keys"], stage.get("key")])]:
        key = tip
        while isinstance(key, str) and key not in found:
            found[key] = None
            record = store.record(key)
            key = None if record is None else record.parent
    return list(reversed(found))


def _copy_folder(source: Storage, to: Storage, kind: str, name: str) -> None:
    last = LAST[kind]
    names, there = source.names(f"{kind}/{name}"), to.names(f"{kind}/{name}")
    if last not in names or last in there:
        return
    if kind == "checkpoints":
        files = {each: source.read(f"{kind}/{name}/{each}") for each in sorted(names, key=lambda each: each == last)}
        to.publish(f"{kind}/{name}", files)
        return
    for each in sorted(names, key=lambda each: each == last):  # part after part: rows may exceed the memory
        if not each.startswith(".") and each != "origin.json":
            to.write(f"{kind}/{name}/{each}", source.read(f"{kind}/{name}/{each}"))
