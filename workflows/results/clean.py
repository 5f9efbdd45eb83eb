"""Remove what no run needs. Nothing is removed because it cannot be read, and only what lstm-relay wrote is removed.

A checkpoint is ours if its record names it, a prepared dataset if its manifest does, a folder in damaged/ if the store
wrote why.txt. A folder is moved to trash/ before it is deleted (in an object store its manifest is removed first), so
that a killed `clean` leaves nothing that looks whole; the next one finishes.
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
    """Something that no run needs."""

    path: str
    what: str
    bytes: int


def find_leftovers(store: Store) -> list[Leftover]:
    """Return checkpoints and prepared datasets that no run needs, and leftovers of interrupted writes; changes nothing.

    Raises InputError if a run cannot be read, because what it needs is then unknown.
    """
    store = Store(store.storage, mend=False)
    needs = [each for name in store.storage.names("runs") for each in _needs(store, name)]
    keys, prepared = _reached(store, needs), {name for each in needs for name in each.prepared}
    # Checkpoints that a run under way trains are younger than its start.
    since = min((each.since for each in needs if each.since is not None), default=float("inf"))
    rejected = {key for each in needs for key in each.rejected}
    found = [*_checkpoints(store, keys, rejected, since), *_derived(store, keys)] if since > 0 else []
    if since == float("inf"):
        found += [*_prepared(store, prepared), *_set_aside(store), *_scratch(store)]
    return [Leftover(path, what, store.storage.size(path)) for path, what in found]


def _checkpoints(store: Store, keys: set[str], rejected: set[str], since: float) -> list[tuple[str, str]]:
    found = []
    others = [key for key in store.storage.names("checkpoints") if key not in keys and not key.startswith(".")]
    records = {key: record for key in others if (record := store.record(key)) is not None}
    while tried := {key for key, record in records.items() if record.parent in rejected}:
        # Epochs of a rejected attempt after the one it would have handed over are requested again, too.
        rejected |= tried
        records = {key: record for key, record in records.items() if key not in tried}
    for key, record in records.items():
        if record.when < since:
            found.append((f"checkpoints/{key}", "epoch of no run" if record.parent else "untrained model of no run"))
    return found


def _derived(store: Store, keys: set[str]) -> list[tuple[str, str]]:
    there = keys | set(store.storage.names("checkpoints"))
    return [
        (f"{folder}/{key}", f"{folder} of no checkpoint")
        for folder in ("evaluations", "derived")
        for key in store.storage.names(folder)
        if key not in there and not key.startswith(".")
    ]


def _prepared(store: Store, kept: set[str]) -> list[tuple[str, str]]:
    found = []
    for name in store.storage.names("prepared"):
        if FINGERPRINT.fullmatch(name) and name not in kept:
            files = store.storage.names(f"prepared/{name}")
            if MANIFEST not in files and all(OF_A_DATASET.fullmatch(file) for file in files):
                found.append((f"prepared/{name}", "interrupted clean"))  # the manifest goes first
        try:
            manifest = json.loads(store.storage.read(f"prepared/{name}/{MANIFEST}"))
        except (OSError, ValueError):
            continue
        if name not in kept and isinstance(manifest, dict) and manifest.get("fingerprint") == name:
            found.append((f"prepared/{name}", "prepared dataset"))
    return found


def _set_aside(store: Store) -> list[tuple[str, str]]:
    names = [name for name in store.storage.names("damaged") if SET_ASIDE.fullmatch(name)]
    return [(f"damaged/{n}", "damaged checkpoint") for n in names if "why.txt" in store.storage.names(f"damaged/{n}")]


def _scratch(store: Store) -> list[tuple[str, str]]:
    """Return leftovers of interrupted writes in our folders and in those of runs and states, and the contents of trash/."""
    storage = store.storage
    places = ["checkpoints", "prepared", "leases"]
    places += [
        f"{folder}/{name}" for folder in ("runs", "evaluations", "derived", "prepared") for name in storage.names(folder)
    ]
    found = [f"{place}/{name}" for place in places for name in storage.names(place) if SCRATCH.fullmatch(name)]
    trash = [f"trash/{name}" for name in storage.names("trash") if SET_ASIDE.fullmatch(name)]
    return [(path, "interrupted write") for path in found] + [(path, "interrupted clean") for path in trash]


def _needs(store: Store, name: str) -> list[Needs]:
    """Return what the files of a run or a search need; raises InputError for a file that is there and cannot be read."""
    try:
        found = [each for file in (None, *RUN_FILES) for each in needs_of_files(store.storage, name, file)]
    except DamagedRecordError as error:
        raise InputError(
            f"clean: {store.address}/{error}: it cannot be read, so what it needs is unknown: train the run again, or "
            "remove its folder; nothing was removed"
        ) from None
    compared = read_comparison(store, name)
    if compared is not None:
        kept = tuple(key for keys in compared.keys.values() for key in keys)
        found.append(Needs(compared.name, compared.key, kept))
    return found


def _reached(store: Store, needs: Sequence[Needs]) -> set[str]:
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
                        f"clean: run {run.name!r}: {damage}, so the epochs before it are not known: train it again, or "
                        f"remove {store.address}/runs/{run.name}; nothing was removed"
                    )
                key = None if record is None else record.parent
    return keys


def clean(store: Store, dry_run: bool) -> list[Leftover]:
    """Remove what no run needs, and return what was removed; `dry_run` only lists it.

    Raises InputError while a command uses the store, and if anything that decides what is needed cannot be read.
    """
    if dry_run:
        return find_leftovers(store)
    with alone(store.storage, store.address):
        found = find_leftovers(store)
        for leftover in found:
            _remove(store, leftover.path)
    return found


def _remove(store: Store, path: str) -> None:
    """Remove a file or a folder; a folder that readers could take for whole disappears atomically."""
    folder, _, name = path.partition("/")
    place = f"trash/{name.rpartition('/')[2]}-{uuid.uuid4().hex[:8]}"
    if folder == "checkpoints" and not name.startswith("."):
        store.remove_checkpoint(name, place)
        for derived in ("evaluations", "derived"):
            _remove(store, f"{derived}/{name}")
    elif store.storage.local and folder in ("prepared", "evaluations", "derived"):
        store.storage.withdraw(path, place, ())
    else:
        place = path
        if folder == "prepared":
            store.storage.remove(f"{path}/{MANIFEST}")
    store.storage.remove(place)
