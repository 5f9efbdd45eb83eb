"""Check every file of a store by its hash, and that each run has what it needs. Nothing is changed."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from data.errors import InputError
from data.records import DamagedRecordError
from workflows.results.clean import SCRATCH, find_leftovers
from workflows.results.comparison import read_comparison
from workflows.results.run_result import result_from
from workflows.results.verify_prepared import prepared_problems
from workflows.store.evaluations import is_evaluation
from workflows.store.kept import EpochRecord
from workflows.store.look import Check, look_at
from workflows.store.needs import RUN_FILES, Needs, needs_of_files
from workflows.store.run_record import RUN, copies_of, read_record, read_run
from workflows.store.store import Store

DAMAGED, UNREACHABLE, FOREIGN, UNCHECKED = "damaged", "unreachable", "foreign", "unchecked"
KEY = re.compile(r"[0-9a-f]{16,64}")
FOLDERS = ("built_in", "checkpoints", "damaged", "derived", "evaluations", "leases", "prepared", "runs", "trash")


@dataclass(frozen=True)
class Finding:
    """Something damaged, or not ours. Only `damaged` is a fault.

    `unreachable`: no run needs it, `clean` removes it. `foreign`: lstm-relay did not write it. `unchecked`: an earlier
    version wrote it without a hash, or it was trained on such rows.
    """

    path: str
    kind: str
    what: str


@dataclass
class Verified:
    """The findings of a scan, and how many files and folders of each kind it checked."""

    findings: list[Finding] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)

    @property
    def damaged(self) -> list[Finding]:
        """Return the findings that are faults."""
        return [each for each in self.findings if each.kind == DAMAGED]


def verify(store: Store) -> Verified:
    """Check every checkpoint, evaluation, prepared part, run and search of a store; writes nothing.

    Another command may move a file while it is checked, so apparent damage is checked twice.
    """
    store = Store(store.storage, mend=False)
    found = Verified()
    records = _checkpoints(store, found)
    _derived(store, found)
    for name in store.storage.names("prepared"):
        _twice(found, "prepared dataset", partial(prepared_problems, store, name))
    for name in store.storage.names("runs"):
        _twice(found, "run", partial(_run_problems, store, name, records))
    found.findings += [Finding(name, FOREIGN, "not ours") for name in store.storage.names("") if name not in FOLDERS]
    found.findings += [
        Finding(f"damaged/{name}", UNREACHABLE, "set aside as damaged") for name in store.storage.names("damaged")
    ]
    found.findings += _leftovers(store, {each.path for each in found.findings})
    return found


def _twice(found: Verified, what: str, look: Callable[[], Iterator[tuple[str, str, str]]]) -> None:
    """Add the findings that a second check confirms."""
    first = _looked(look)
    if any(kind == DAMAGED for _, kind, _ in first):
        first &= _looked(look)
    found.checked[what] += 1
    found.findings += [Finding(*each) for each in sorted(first)]


def _looked(look: Callable[[], Iterator[tuple[str, str, str]]]) -> set[tuple[str, str, str]]:
    found = set()
    try:
        for each in look():
            found.add(each)
    except FileNotFoundError:
        pass  # another command has moved it since it was listed
    except OSError as error:
        found.add((str(error.filename or ""), DAMAGED, f"it cannot be read ({error.strerror or error})"))
    return found


def _checkpoints(store: Store, found: Verified) -> dict[str, EpochRecord]:
    records: dict[str, EpochRecord] = {}
    for key in store.storage.names("checkpoints"):
        folder = f"checkpoints/{key}"
        if SCRATCH.fullmatch(key):
            continue  # an interrupted write, which `clean` removes

        _twice(found, "checkpoint", partial(_checkpoint_problems, store, key, records))
        if any(each.path == folder and each.kind == DAMAGED for each in found.findings):
            records.pop(key, None)
    lost = {holder for record in records.values() for holder in record.heads.values()} - records.keys()
    for holder in sorted(lost - set(store.storage.names("checkpoints"))):
        what = f"a head correction is in checkpoint {holder}, which is missing; train trains its epoch again"
        users = [key for key, record in records.items() if holder in record.heads.values()]
        found.findings += [Finding(f"checkpoints/{key}", DAMAGED, what) for key in users]
    return records


def _checkpoint_problems(store: Store, key: str, records: dict[str, EpochRecord]) -> Iterator[tuple[str, str, str]]:
    folder = f"checkpoints/{key}"
    ours = KEY.fullmatch(key) or "facts.json" in store.storage.names(folder)
    try:
        seen = look_at(store.storage, folder, key, Check.FULL)
    except InputError as error:  # of a later version
        yield folder, UNCHECKED, str(error)
        return
    if seen.record is not None:
        records[key] = seen.record
    if seen.damage and ours:
        yield folder, DAMAGED, f"{seen.damage}; train sets it aside and trains the epoch again"
    elif not ours or (seen.record is None and store.storage.local):
        yield folder, DAMAGED if ours else FOREIGN, "no checkpoint"


def _derived(store: Store, found: Verified) -> None:
    storage = store.storage
    folders = [(f"evaluations/{key}", "") for key in storage.names("evaluations")]
    folders += [(f"checkpoints/{key}", "evaluations-") for key in storage.names("checkpoints")]  # of an earlier version
    for folder, begins in folders:
        _note_a_file(store, found, folder)
        for name in storage.names(folder):
            if name.startswith(begins) and not name.startswith("."):
                path = f"{folder}/{name}"
                _twice(found, "evaluation", partial(_evaluation_problems, store, path))
    for key in storage.names("derived"):
        _note_a_file(store, found, f"derived/{key}")
        for name in storage.names(f"derived/{key}"):
            if not name.startswith("."):
                path = f"derived/{key}/{name}"
                _twice(found, "derived tensor", partial(_tensor_problems, store, path))


def _note_a_file(store: Store, found: Verified, folder: str) -> None:
    """Note a file, or a link to nothing, in the place of a folder; an object store has no folders."""
    if store.storage.local and not folder.startswith("checkpoints/"):
        place = Path(store.address) / folder
        if os.path.lexists(place) and not place.is_dir() and KEY.fullmatch(place.name):
            found.findings.append(Finding(folder, DAMAGED, "no folder is there; train sets it aside where it needs one"))


def _evaluation_problems(store: Store, path: str) -> Iterator[tuple[str, str, str]]:
    if not is_evaluation(store.storage, path):
        yield path, DAMAGED, "its content has changed; it is evaluated again when needed"


def _tensor_problems(store: Store, path: str) -> Iterator[tuple[str, str, str]]:
    content = store.storage.read(path)
    if hashlib.sha256(content[64:]).hexdigest().encode() != content[:64]:
        yield path, DAMAGED, "its content has changed; it is computed again when needed"


def _run_problems(store: Store, name: str, records: dict[str, EpochRecord]) -> Iterator[tuple[str, str, str]]:
    storage, found = store.storage, list[Needs]()
    names = set(storage.names(f"runs/{name}"))
    mend = "run its train, extend or search command again"
    try:
        ended = read_run(storage, name)
        if ended is not None:
            result_from(ended.result)
            found += needs_of_files(storage, name)
            kept = f"runs/{name}/{RUN}"
            for file, copy in copies_of(ended).items() if RUN in names else ():
                if file in names and storage.read(f"runs/{name}/{file}") != copy:
                    yield f"runs/{name}/{file}", DAMAGED, f"this copy differs from {kept}, which counts; {mend}"
    except (DamagedRecordError, InputError) as error:
        yield f"runs/{name}/{RUN}", DAMAGED, f"{error}; {mend}"
    for file in RUN_FILES:
        try:
            found += needs_of_files(storage, name, file)
            best = (read_record(storage, f"runs/{name}/{file}") or {}).get("best_recipe")
            if best is not None and "best.toml" in names and storage.read(f"runs/{name}/best.toml") != best.encode():
                yield f"runs/{name}/best.toml", DAMAGED, f"this copy differs from {file}, which counts; {mend}"
        except DamagedRecordError as error:
            yield f"runs/{name}/{file}", DAMAGED, f"{error}; {mend}"
    try:
        comparison = read_comparison(store, name)
    except InputError as error:
        yield f"runs/{name}/compare.json", DAMAGED, str(error)
    else:
        if comparison is not None:
            found.append(Needs(name, None, tuple(key for keys in comparison.keys.values() for key in keys)))
    if not found and not names & {RUN, "result.json", "compare.json", *RUN_FILES}:
        yield f"runs/{name}", FOREIGN, "no run and no search"
    for needs in found:
        yield from _missing(store, needs, records)
    reached = {key for needs in found for key in _chain(needs, records)}
    epochs = [record for key in reached if (record := records.get(key)) is not None and record.samples]
    unchecked = sum(not record.rows_checked for record in epochs)
    if unchecked:
        words = (
            f"{unchecked} of its {len(epochs)} epochs were trained on rows that had no hash to be checked by, or by an "
            "earlier version: if such rows were damaged the epochs are wrong; train in another --storage to be sure"
        )
        yield f"runs/{name}", UNCHECKED, words


def _missing(store: Store, needs: Needs, records: dict[str, EpochRecord]) -> Iterator[tuple[str, str, str]]:
    """Yield what a run needs and the store does not have."""
    for key in _chain(needs, records):
        if key not in records and not store.storage.names(f"checkpoints/{key}"):
            yield f"runs/{needs.name}", DAMAGED, f"it needs checkpoint {key}, which is missing; train it again"
    for folder in needs.prepared:
        if "manifest.json" not in store.storage.names(f"prepared/{folder}"):
            yield f"runs/{needs.name}", DAMAGED, f"it needs prepared/{folder}, which is missing; train it again"


def _chain(needs: Needs, records: dict[str, EpochRecord]) -> Iterator[str]:
    """Yield the addresses of all states that a run points at, and of those before them, each once."""
    at_its_end = needs.has_ended or needs.has_epochs  # before, a run points at a state that is still to be written
    seen: set[str] = set()
    for tip in (*needs.states, *([needs.key] if at_its_end and needs.key is not None else [])):
        key: str | None = tip
        while key is not None and key not in seen:
            seen.add(key)
            yield key
            key = records[key].parent if key in records else None


def _leftovers(store: Store, known: set[str]) -> list[Finding]:
    try:
        return [
            Finding(each.path, UNREACHABLE, f"{each.what}, {each.bytes:,} bytes; clean removes it")
            for each in find_leftovers(store)
            if each.path not in known
        ]
    except (InputError, OSError):  # unreadable files are reported above
        return []
