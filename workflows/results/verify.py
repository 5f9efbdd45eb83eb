"""Check the hash of every file of a store, and that each run has what it needs. Nothing is changed."""

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
    """A problem of a file or folder in the store. Only `damaged` is a fault.

    `unreachable`: no run needs it, `clean` removes it. `foreign`: lstm-relay did not write it. `unchecked`: an earlier
    version wrote it without a hash, or it was trained on rows without one.
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
    verified = Verified()
    records = _check_checkpoints(store, verified)
    _check_derived(store, verified)
    for name in store.storage.names("prepared"):
        _check_twice(verified, "prepared dataset", partial(prepared_problems, store, name))
    for name in store.storage.names("runs"):
        _check_twice(verified, "run", partial(_run_problems, store, name, records))
    verified.findings += [Finding(name, FOREIGN, "not ours") for name in store.storage.names("") if name not in FOLDERS]
    verified.findings += [
        Finding(f"damaged/{name}", UNREACHABLE, "set aside as damaged") for name in store.storage.names("damaged")
    ]
    verified.findings += _unreachable(store, {each.path for each in verified.findings})
    return verified


def _check_twice(verified: Verified, what: str, look: Callable[[], Iterator[tuple[str, str, str]]]) -> None:
    """Add the findings that a second check confirms."""
    problems = _problems_of(look)
    if any(kind == DAMAGED for _, kind, _ in problems):
        problems &= _problems_of(look)
    verified.checked[what] += 1
    verified.findings += [Finding(*each) for each in sorted(problems)]


def _problems_of(look: Callable[[], Iterator[tuple[str, str, str]]]) -> set[tuple[str, str, str]]:
    problems = set()
    try:
        for problem in look():
            problems.add(problem)
    except FileNotFoundError:
        pass  # another command moved it after it was listed
    except OSError as error:
        problems.add((str(error.filename or ""), DAMAGED, f"it cannot be read ({error.strerror or error})"))
    return problems


def _check_checkpoints(store: Store, verified: Verified) -> dict[str, EpochRecord]:
    """Check all checkpoints, and return the records of those that are not damaged, by key."""
    records: dict[str, EpochRecord] = {}
    for key in store.storage.names("checkpoints"):
        folder = f"checkpoints/{key}"
        if SCRATCH.fullmatch(key):
            continue  # an interrupted write, which `clean` removes

        _check_twice(verified, "checkpoint", partial(_checkpoint_problems, store, key, records))
        if any(each.path == folder and each.kind == DAMAGED for each in verified.findings):
            records.pop(key, None)
    lost = {holder for record in records.values() for holder in record.heads.values()} - records.keys()
    for holder in sorted(lost - set(store.storage.names("checkpoints"))):
        problem = f"a head correction is in checkpoint {holder}, which is missing; train trains its epoch again"
        users = [key for key, record in records.items() if holder in record.heads.values()]
        verified.findings += [Finding(f"checkpoints/{key}", DAMAGED, problem) for key in users]
    return records


def _checkpoint_problems(store: Store, key: str, records: dict[str, EpochRecord]) -> Iterator[tuple[str, str, str]]:
    folder = f"checkpoints/{key}"
    is_ours = KEY.fullmatch(key) or "facts.json" in store.storage.names(folder)
    try:
        look = look_at(store.storage, folder, key, Check.FULL)
    except InputError as error:  # of a later version
        yield folder, UNCHECKED, str(error)
        return
    if look.record is not None:
        records[key] = look.record
    if look.damage and is_ours:
        yield folder, DAMAGED, f"{look.damage}; train sets it aside and trains the epoch again"
    elif not is_ours or (look.record is None and store.storage.local):
        yield folder, DAMAGED if is_ours else FOREIGN, "no checkpoint"


def _check_derived(store: Store, verified: Verified) -> None:
    storage = store.storage
    folders = [(f"evaluations/{key}", "") for key in storage.names("evaluations")]
    folders += [(f"checkpoints/{key}", "evaluations-") for key in storage.names("checkpoints")]  # of an earlier version
    for folder, prefix in folders:
        _note_misplaced_file(store, verified, folder)
        for name in storage.names(folder):
            if name.startswith(prefix) and not name.startswith("."):
                path = f"{folder}/{name}"
                _check_twice(verified, "evaluation", partial(_evaluation_problems, store, path))
    for key in storage.names("derived"):
        _note_misplaced_file(store, verified, f"derived/{key}")
        for name in storage.names(f"derived/{key}"):
            if not name.startswith("."):
                path = f"derived/{key}/{name}"
                _check_twice(verified, "derived tensor", partial(_tensor_problems, store, path))


def _note_misplaced_file(store: Store, verified: Verified, folder: str) -> None:
    """Note a file, or a broken link, where a folder should be; an object store has no folders."""
    if store.storage.local and not folder.startswith("checkpoints/"):
        path = Path(store.address) / folder
        if os.path.lexists(path) and not path.is_dir() and KEY.fullmatch(path.name):
            verified.findings.append(Finding(folder, DAMAGED, "this is not a folder; train sets it aside when it needs one"))


def _evaluation_problems(store: Store, path: str) -> Iterator[tuple[str, str, str]]:
    if not is_evaluation(store.storage, path):
        yield path, DAMAGED, "its content has changed; it is evaluated again when needed"


def _tensor_problems(store: Store, path: str) -> Iterator[tuple[str, str, str]]:
    content = store.storage.read(path)
    if hashlib.sha256(content[64:]).hexdigest().encode() != content[:64]:
        yield path, DAMAGED, "its content has changed; it is computed again when needed"


def _run_problems(store: Store, name: str, records: dict[str, EpochRecord]) -> Iterator[tuple[str, str, str]]:
    storage, needs = store.storage, list[Needs]()
    names = set(storage.names(f"runs/{name}"))
    mend = "run its train, extend or search command again"
    try:
        ended = read_run(storage, name)
        if ended is not None:
            result_from(ended.result)
            needs += needs_of_files(storage, name)
            kept = f"runs/{name}/{RUN}"
            for file, copy in copies_of(ended).items() if RUN in names else ():
                if file in names and storage.read(f"runs/{name}/{file}") != copy:
                    yield f"runs/{name}/{file}", DAMAGED, f"this copy differs from {kept}, which counts; {mend}"
    except (DamagedRecordError, InputError) as error:
        yield f"runs/{name}/{RUN}", DAMAGED, f"{error}; {mend}"
    for file in RUN_FILES:
        try:
            needs += needs_of_files(storage, name, file)
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
            needs.append(Needs(name, None, tuple(key for keys in comparison.keys.values() for key in keys)))
    if not needs and not names & {RUN, "result.json", "compare.json", *RUN_FILES}:
        yield f"runs/{name}", FOREIGN, "no run and no search"
    for each in needs:
        yield from _missing_needs(store, each, records)
    reached = {key for each in needs for key in _chain(each, records)}
    epochs = [record for key in reached if (record := records.get(key)) is not None and record.samples]
    unchecked = sum(not record.rows_checked for record in epochs)
    if unchecked:
        words = (
            f"{unchecked} of its {len(epochs)} epochs were trained on rows without a hash or by an earlier version, so "
            "damage to those rows would not have been noticed; train in another --storage to be sure"
        )
        yield f"runs/{name}", UNCHECKED, words


def _missing_needs(store: Store, needs: Needs, records: dict[str, EpochRecord]) -> Iterator[tuple[str, str, str]]:
    """Yield a problem for each checkpoint and prepared dataset that a run needs and the store lacks."""
    for key in _chain(needs, records):
        if key not in records and not store.storage.names(f"checkpoints/{key}"):
            yield f"runs/{needs.name}", DAMAGED, f"it needs checkpoint {key}, which is missing; train it again"
    for folder in needs.prepared:
        if "manifest.json" not in store.storage.names(f"prepared/{folder}"):
            yield f"runs/{needs.name}", DAMAGED, f"it needs prepared/{folder}, which is missing; train it again"


def _chain(needs: Needs, records: dict[str, EpochRecord]) -> Iterator[str]:
    """Yield the addresses of all states that a run refers to, and of those before them, each once."""
    at_its_end = needs.has_ended or needs.has_epochs  # before its first epoch, a run refers to an unwritten state
    visited: set[str] = set()
    for tip in (*needs.states, *([needs.key] if at_its_end and needs.key is not None else [])):
        key: str | None = tip
        while key is not None and key not in visited:
            visited.add(key)
            yield key
            key = records[key].parent if key in records else None


def _unreachable(store: Store, reported: set[str]) -> list[Finding]:
    try:
        return [
            Finding(each.path, UNREACHABLE, f"{each.what}, {each.bytes:,} bytes; clean removes it")
            for each in find_leftovers(store)
            if each.path not in reported
        ]
    except (InputError, OSError):  # unreadable files are reported above
        return []
