"""The store: checkpoints by address, evaluations and tensors derived from them, and the runs that refer to them.

    checkpoints/KEY/           facts.json (EpochRecord) and the files that it names; complete when facts.json is there
    evaluations/KEY/*.json     errors of the state KEY, each with the version of the metrics
    derived/KEY/*              tensors computed from the state KEY (EWC importance)
    leases/NAME                the process that trains, evaluates or removes something now (leases.py)
    damaged/KEY-*/             checkpoints set aside, with why.txt
    runs/NAME/run.json         result, recipe and datasets of a run, as one record (run_record.py)
    runs/NAME/                 beside it: readable copies of its parts, its progress, log and report

Any number of processes on any number of machines may use one store at once, under these rules:

1. A checkpoint is committed once and complete. In a folder the commit is one rename. In an object store facts.json is
   created last, only if it does not exist, and it names files that no other attempt writes. The first commit stays: a
   process that commits the same key later continues from the committed state.
2. Nothing is written into a checkpoint's folder after that. Evaluations and derived tensors have separate folders, so that
   they never create a checkpoint's folder. Each of their files is written atomically, and the first valid one stays.
3. Only the owner of the lease `remove-KEY` moves a checkpoint, to remove it or to set it aside. Commits need no lease.
4. A checkpoint without facts.json counts as missing: in an object store it may be incomplete. In a local folder with other
   files this is damage, if rule 5 confirms it.
5. Damage is confirmed by a second look under the lease `remove-KEY`: no process can move the folder, and no commit replaces
   it, so a file missing from an existing folder was never written or was lost. The moved folder is checked a third time,
   where no other process reaches it, and is put back if it is intact (an owner that was suspended beyond its lease).
6. An address means the same to every reader. Names, stage numbers and planned epochs belong to the run.
7. A run is one record. run.json is written atomically when a run ends or is rolled back, and the last writer wins; readable
   copies (result.json, recipe.toml, datasets.json) follow it, and nothing reads them while there is a run.json. search.json
   is the record of a search in the same way; best.toml and search.svg are copies. progress.json has the hash of its
   datasets. Records contain their own hash (records.py): a changed one is reported, and rewritten by the command that made
   it.
8. Stores of version 6e35f09 can be read: evaluations and tensors are in the checkpoint's folder, and runs have three files
   instead of run.json. Nothing is written there.
9. A record may name earlier checkpoints of its chain that have its unchanged parts (heads.py).

Without exclusive creation of files (gs://, abfs://: see conditional.py), only one command at a time may use the store.
No file of the store is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workflows.store.evaluations import keep_evaluations, kept_evaluations
from workflows.store.heads import by_head, without
from workflows.store.kept import RECORD_VERSION, EpochRecord, Errors, file_record, sealed
from workflows.store.leases import Leases
from workflows.store.look import Check, Look, content_of, look_at
from workflows.store.run_record import replace_file
from workflows.store.runs import Runs
from workflows.store.storage import Storage, open_storage
from workflows.store.usage import Usage

if TYPE_CHECKING:  # a look-up needs no torch
    from torch import Tensor

HASHED_BYTES = 1 << 30  # of checkpoints that look-ups hash, which takes about a second; others are checked by size
MAX_TRIES = 5  # of a commit or a load while other processes set aside and commit the same key


class DamagedCheckpointError(Exception):
    """A checkpoint's files were changed after they were written; it is set aside, so that its epoch is trained again."""


@dataclass(frozen=True)
class State:
    """The state an epoch starts from: the model's weights, and the optimizer's moments by parameter."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]


class Store(Runs):
    """A store at a path or an address. The module's docstring has the rules for writers and readers.

    With `mend` a checkpoint that is proven damaged is set aside; without it, it is only reported in `set_aside_now`.
    """

    def __init__(self, address: str | Storage, mend: bool = True):
        self.storage: Storage = open_storage(address) if isinstance(address, str) else address
        self.address = self.storage.address
        self.leases = Leases(self.storage)
        self.mend = mend
        self._trusted: set[str] = set()  # checkpoints that this process has written or checked
        self._old: set[str] = set()  # checkpoints with evaluations and tensors in their own folder (rule 8)
        self._holders: dict[str, tuple[dict[str, State], Mapping[str, str]]] = {}  # checkpoints that others refer to
        self._hashed_bytes = 0
        self.set_aside_now: list[str] = []  # messages about the damage that this process found

    def using(self, what: str) -> Usage:
        """Register in a `with` block that a command uses this store, so that `clean` removes nothing meanwhile."""
        return Usage(self.leases, what)

    def record(self, key: str) -> EpochRecord | None:
        """Return the record of a checkpoint; None if it is missing or damaged. A damaged one is set aside."""
        look = self._look(key, Check.NONE if key in self._trusted else Check.CHEAP)
        if look.damage:
            look = self._look_again(key)
        if look.record is not None:
            self._trusted.add(key)
            if look.record.version == 0:
                self._old.add(key)
        return look.record

    def _look(self, key: str, check: Check, folder: str = "") -> Look:
        look = look_at(self.storage, folder or f"checkpoints/{key}", key, check, HASHED_BYTES - self._hashed_bytes)
        self._hashed_bytes += look.hashed_bytes
        return look

    def _look_again(self, key: str) -> Look:
        """Look again while no other process can move the checkpoint, and set it aside if it is damaged (rule 5)."""
        self._trusted.discard(key)
        if not self.mend:
            look = self._look(key, Check.FULL)
            if look.damage:
                self.set_aside_now.append(f"checkpoint {key}: {look.damage}")
            return Look() if look.damage else look
        with self.leases.hold(f"remove-{key}"):
            look = self._look(key, Check.FULL)
            return self._set_aside(key, look) if look.damage else look

    def _set_aside(self, key: str, look: Look) -> Look:
        """Move a checkpoint that is proven damaged to damaged/."""
        folder = f"damaged/{key}-{uuid.uuid4().hex[:8]}"
        self.storage.withdraw(f"checkpoints/{key}", folder, _names(look.record))
        again = self._look(key, Check.FULL, folder)
        # An object store moves only the files that the damaged record names, so a new commit shows in the record alone.
        another = not again.damage if self.storage.local else again.record != look.record
        if again.record is not None and another:
            self.storage.put_back(folder, f"checkpoints/{key}", "facts.json")
            return again
        if again.record is None and not again.damage:  # another process was faster
            return self._look(key, Check.CHEAP)
        self.set_aside_now.append(f"checkpoint {key}: {look.damage}; set aside in {folder}")
        self.storage.write(f"{folder}/why.txt", f"{look.damage}\n".encode())
        return Look()

    def remove_checkpoint(self, key: str, to: str) -> None:
        """Move a checkpoint to the folder `to`, where it can be deleted without readers."""
        with self.leases.hold(f"remove-{key}"):
            self._trusted.discard(key)
            self.storage.withdraw(f"checkpoints/{key}", to, _names(self._look(key, Check.NONE).record))

    def commit(self, key: str, state: State, record: EpochRecord) -> tuple[EpochRecord, bool]:
        """Write a checkpoint atomically. Returns the committed record, and whether it is this one.

        Head corrections that `record.heads` finds in earlier checkpoints are not written. If another process has already
        committed the key, this state is dropped, because it may differ in the last bits.
        """
        from safetensors.torch import save

        if record.heads:
            state = State(without(state.model, record.heads), without(state.optimizer, record.heads))
            record = replace(record, version=RECORD_VERSION)
        contents = {"model.safetensors": save(state.model), "optimizer.safetensors": save(state.optimizer)}
        for _ in range(MAX_TRIES):
            attempt = "" if self.storage.local else f"-{uuid.uuid4().hex[:8]}"
            files = {n: file_record(each, n.replace(".", f"{attempt}.", 1)) for n, each in contents.items()}
            written = replace(record, key=key, when=time.time(), files=files)
            by_file_name = {files[name].name: content for name, content in contents.items()}
            if self.storage.publish(f"checkpoints/{key}", {**by_file_name, "facts.json": sealed(written.to_json())}):
                self._trusted.add(key)
                return written, True
            committed = self.record(key)
            if committed is not None:
                return committed, False
        raise OSError(f"{self.address}/checkpoints/{key}: it cannot be written, and the existing one cannot be read")

    def load(self, key: str) -> State:
        """Return the state of a checkpoint; raises DamagedCheckpointError, and sets it aside, if a file was changed.

        Also raises it if an earlier checkpoint with one of the head corrections is damaged.
        """
        state, record = self._read_files(key)
        for number, holder in record.heads.items():
            correction = self._head_correction(number, holder)
            state.model.update(correction.model)
            state.optimizer.update(correction.optimizer)
        return state

    def _head_correction(self, number: str, key: str) -> State:
        """Return the weights and moments of a head correction, from the checkpoint's files or from an earlier one."""
        if key not in self._holders:
            state, record = self._read_files(key)
            moments = by_head(state.optimizer)
            corrections = {n: State(weights, moments.get(n, {})) for n, weights in by_head(state.model).items()}
            self._holders[key] = corrections, record.heads
        corrections, elsewhere = self._holders[key]
        # A checkpoint that had all corrections when it was named may have been written again without the earlier ones.
        return self._head_correction(number, elsewhere[number]) if number in elsewhere else corrections[number]

    def _read_files(self, key: str) -> tuple[State, EpochRecord]:
        """Return the state in a checkpoint's files and its record; see load."""
        from safetensors.torch import load

        for _ in range(MAX_TRIES):
            record = self.record(key)
            if record is None:
                break
            contents = {
                name: content_of(self.storage, f"checkpoints/{key}/{file.name}", file) for name, file in record.files.items()
            }
            if None not in contents.values():
                model, optimizer = (load(contents[name] or b"") for name in ("model.safetensors", "optimizer.safetensors"))
                return State(model, optimizer), record
            self._look_again(key)
        words = [each for each in self.set_aside_now if each.startswith(f"checkpoint {key}:")]
        raise DamagedCheckpointError(words[-1] if words else f"checkpoint {key}: it is missing")

    def evaluations(self, key: str) -> dict[str, Errors]:
        """Return all errors of a state by hash of the split. Damaged files are reported and ignored."""
        errors, damaged = kept_evaluations(self.storage, key, self._is_old(key))
        self.set_aside_now += [f"checkpoint {key}: the content of {name} has changed; measured again" for name in damaged]
        return errors

    def add_evaluations(self, key: str, errors: Mapping[str, Errors]) -> None:
        """Add errors of a state; existing ones stay."""
        keep_evaluations(self.storage, key, errors)

    def keep_tensors(self, key: str, name: str, tensors: dict[str, Tensor]) -> None:
        """Store tensors derived from a state."""
        from safetensors.torch import save

        content = save(tensors)
        digest = hashlib.sha256(content).hexdigest().encode()
        replace_file(self.storage, f"derived/{key}/{name}.safetensors.sealed", digest + content)

    def kept_tensors(self, key: str, name: str) -> dict[str, Tensor] | None:
        """Return the tensors that `keep_tensors` stored; None if they are missing or damaged."""
        from safetensors.torch import load

        for folder in ("derived", "checkpoints") if self._is_old(key) else ("derived",):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                content = self.storage.read(f"{folder}/{key}/{name}.safetensors.sealed")
                if hashlib.sha256(content[64:]).hexdigest().encode() == content[:64]:
                    return load(content[64:])
        return None

    def _is_old(self, key: str) -> bool:
        return (key in self._trusted or self.record(key) is not None) and key in self._old


def _names(record: EpochRecord | None) -> list[str]:
    """Return the files of a checkpoint, beginning with the one that completes it."""
    return ["facts.json", *(file.name for file in (record.files.values() if record else ()))]
