"""Remove files that no run needs, only ones that lstm-relay wrote, and none just because it cannot be read.

A checkpoint is ours if its record names it, a prepared dataset if its manifest does, a folder in damaged/ if the store
wrote why.txt. A folder is moved to trash/ before it is deleted (in an object store its manifest is removed first), so
that a killed `clean` leaves nothing that looks complete; the next one finishes.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import InputError
from data.prepared.manifest import MANIFEST
from data.records import DamagedRecordError
from workflows.results.comparison import read_comparison
from workflows.store.needs import RUN_FILES, Needs, needs_of_files
from workflows.store.store import Store
from workflows.store.usage import alone

SCRATCH = re.compile(r"\..+-[0-9a-f]{8}([0-9a-f]{4})?")  # left by interrupted writes and preparations
FINGERPRINT = re.compile(r"[0-9a-f]{32}")
OF_A_DATASET = re.compile(
    r"(values|samples)-\d+\.arrow|(manifest|origin|quartiles|distances-\d+|checked)\.json|" + SCRATCH.pattern
)
SET_ASIDE = re.compile(r".+-[0-9a-f]{8}")


@dataclass(frozen=True)
class Leftover:
    """A file or folder that no run needs."""

    path: str
    what: str
    bytes: int


def find_leftovers(store: Store) -> list[Leftover]:
    """Return checkpoints and prepared datasets that no run needs, and leftovers of interrupted writes; changes nothing.

    Raises InputError if a run cannot be read, because what it needs is then unknown.
    """
    store = Store(store.storage, mend=False)
    needs = [each for name in store.storage.names("runs") for each in _needs(store, name)]
    keys, prepared = _reachable_keys(store, needs), {name for each in needs for name in each.prepared}
    # Checkpoints of a run under way are newer than its start.
    since = min((each.since for each in needs if each.since is not None), default=float("inf"))
    rejected = {key for each in needs for key in each.rejected}
    paths = [*_unneeded_checkpoints(store, keys, rejected, since), *_unneeded_derived(store, keys)] if since > 0 else []
    if since == float("inf"):
        paths += [*_unneeded_prepared(store, prepared), *_set_aside(store), *_interrupted_writes(store)]
    return [Leftover(path, what, store.storage.size(path)) for path, what in paths]


def _unneeded_checkpoints(store: Store, keys: set[str], rejected: set[str], since: float) -> list[tuple[str, str]]:
    paths = []
    unneeded = [key for key in store.storage.names("checkpoints") if key not in keys and not key.startswith(".")]
    records = {key: record for key in unneeded if (record := store.record(key)) is not None}
    while retried := {key for key, record in records.items() if record.parent in rejected}:
        # A later run requests all epochs of a rejected attempt, also those after the one it would have handed over.
        rejected |= retried
        records = {key: record for key, record in records.items() if key not in retried}
    for key, record in records.items():
        if record.when < since:
            paths.append((f"checkpoints/{key}", "epoch of no run" if record.parent else "untrained model of no run"))
    return paths


def _unneeded_derived(store: Store, keys: set[str]) -> list[tuple[str, str]]:
    existing = keys | set(store.storage.names("checkpoints"))
    return [
        (f"{folder}/{key}", f"{folder} of no checkpoint")
        for folder in ("evaluations", "derived")
        for key in store.storage.names(folder)
        if key not in existing and not key.startswith(".")
    ]


def _unneeded_prepared(store: Store, kept: set[str]) -> list[tuple[str, str]]:
    paths = []
    for name in store.storage.names("prepared"):
        if FINGERPRINT.fullmatch(name) and name not in kept:
            files = store.storage.names(f"prepared/{name}")
            if MANIFEST not in files and all(OF_A_DATASET.fullmatch(file) for file in files):
                paths.append((f"prepared/{name}", "interrupted clean"))  # the manifest goes first
        try:
            manifest = json.loads(store.storage.read(f"prepared/{name}/{MANIFEST}"))
        except (OSError, ValueError):
            continue
        if name not in kept and isinstance(manifest, dict) and manifest.get("fingerprint") == name:
            paths.append((f"prepared/{name}", "prepared dataset"))
    return paths


def _set_aside(store: Store) -> list[tuple[str, str]]:
    names = [name for name in store.storage.names("damaged") if SET_ASIDE.fullmatch(name)]
    return [(f"damaged/{n}", "damaged checkpoint") for n in names if "why.txt" in store.storage.names(f"damaged/{n}")]


def _interrupted_writes(store: Store) -> list[tuple[str, str]]:
    """Return leftovers of interrupted writes in all folders of the store, and the contents of trash/."""
    storage = store.storage
    folders = ["checkpoints", "prepared", "leases"]
    folders += [
        f"{folder}/{name}" for folder in ("runs", "evaluations", "derived", "prepared") for name in storage.names(folder)
    ]
    paths = [f"{folder}/{name}" for folder in folders for name in storage.names(folder) if SCRATCH.fullmatch(name)]
    trash = [f"trash/{name}" for name in storage.names("trash") if SET_ASIDE.fullmatch(name)]
    return [(path, "interrupted write") for path in paths] + [(path, "interrupted clean") for path in trash]


def _needs(store: Store, name: str) -> list[Needs]:
    """Return what the files of a run or a search need; raises InputError for a file that exists but cannot be read."""
    try:
        needs = [each for file in (None, *RUN_FILES) for each in needs_of_files(store.storage, name, file)]
    except DamagedRecordError as error:
        raise InputError(
            f"clean: {store.address}/{error}: it cannot be read, so what it needs is unknown: train the run again, or "
            "remove its folder; nothing was removed"
        ) from None
    compared = read_comparison(store, name)
    if compared is not None:
        states = tuple(key for keys in compared.keys.values() for key in keys)
        needs.append(Needs(compared.name, compared.key, states))
    return needs


def _reachable_keys(store: Store, needs: Sequence[Needs]) -> set[str]:
    """Return the keys of all states that the records need, including those before them."""
    keys: set[str] = set()
    for run in needs:
        for tip in (run.key, *run.states, *run.rejected):
            key = tip
            while key is not None and key not in keys:
                keys.add(key)
                record = store.record(key)
                if record is None and (store.set_aside_now or run.has_epochs):
                    damage = store.set_aside_now[-1] if store.set_aside_now else f"checkpoint {key} is missing"
                    raise InputError(
                        f"clean: run {run.name!r}: {damage}, so the epochs before it are unknown: train it again, or "
                        f"remove {store.address}/runs/{run.name}; nothing was removed"
                    )
                key = None if record is None else record.parent
    return keys


def clean(store: Store, dry_run: bool) -> list[Leftover]:
    """Remove and return everything that no run needs; `dry_run` only lists it.

    Raises InputError while a command uses the store, and if a file that decides what is needed cannot be read.
    """
    if dry_run:
        return find_leftovers(store)
    with alone(store.storage, store.address):
        leftovers = find_leftovers(store)
        for leftover in leftovers:
            _remove(store, leftover.path)
    return leftovers


def _remove(store: Store, path: str) -> None:
    """Remove a file or a folder; one that readers could take for complete disappears atomically."""
    folder, _, name = path.partition("/")
    target = f"trash/{name.rpartition('/')[2]}-{uuid.uuid4().hex[:8]}"
    if folder == "checkpoints" and not name.startswith("."):
        store.remove_checkpoint(name, target)
        for derived in ("evaluations", "derived"):
            _remove(store, f"{derived}/{name}")
    elif store.storage.local and folder in ("prepared", "evaluations", "derived"):
        store.storage.withdraw(path, target, ())
    else:
        target = path
        if folder == "prepared":
            store.storage.remove(f"{path}/{MANIFEST}")
    store.storage.remove(target)
