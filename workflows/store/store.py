"""The store: checkpoints under their addresses, what is derived from them, and the runs that point at them.

    checkpoints/KEY/           facts.json (EpochRecord) and the files that it names; complete when facts.json is there
    evaluations/KEY/*.json     errors of the state KEY, each with the version of the metrics
    derived/KEY/*              tensors computed from the state KEY (EWC importance)
    leases/NAME                who trains, measures or removes something now (leases.py)
    damaged/KEY-*/             what was set aside, with why.txt
    runs/NAME/run.json         what a run came to, its recipe and its datasets: one record (run_record.py)
    runs/NAME/                 beside it: copies of its parts for a person, how far a run is, its log and its page

Any number of processes on any number of machines may use one store at once. These rules are all that they agree on:

1. A checkpoint is committed once and complete. In a folder it is one rename. In an object store facts.json is created
   last, only if it does not exist, and it names files that no other attempt writes. What stands first stays: a process
   that commits the same key later learns of it, and goes on from the state that stands.
2. Nothing is written into a checkpoint's folder after that. Evaluations and derived tensors have folders of their own,
   so that they never make a checkpoint's folder. Each of their files is written whole, and the first valid one stays.
3. Only who has the lease `remove-KEY` takes a checkpoint away, to remove it or to set it aside. No commit needs a lease.
4. A reader that finds no facts.json concludes that the checkpoint is not there: in an object store it may be under way.
   In a folder that has other files it is damage, if rule 5 proves it.
5. Damage is proven by a second look under the lease `remove-KEY`: nobody can take the folder away, and no commit replaces
   it, so what is missing in a folder that is there was never written or was lost. What was moved is looked at a third
   time, where no other process reaches it, and is put back if it is whole (an owner that slept through its lease).
6. An address names what every reader of it agrees on. Names, stage numbers and planned epochs belong to the run.
7. A run is one record. run.json is written at once when a run ends or is rolled back, and the last writer wins whole;
   readable copies (result.json, recipe.toml, datasets.json) follow it, and nothing reads them while there is a run.json.
   search.json is the record of a search in the same way; best.toml and search.svg are copies.
   progress.json has the hash of the datasets that belong to it. Records have their own hash (records.py): one that is not
   as it was written is named, and written anew by the command that made it.
8. What was written by version 6e35f09 is read: its evaluations and tensors lie in the checkpoint's folder, and its
   runs have three files instead of run.json. Nothing is written there again.
9. A record may name earlier checkpoints of its chain, which have what did not change since (heads.py).

Where nothing can be created exclusively (gs://, abfs://: see conditional.py) one command at a time may use the store.
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

HASHED_BYTES = 1 << 30  # of checkpoints that a look-up checks byte by byte, about a second; beyond it by their sizes
MAX_TRIES = 5  # of a commit or a load beside processes that set aside and commit the same key


class DamagedCheckpointError(Exception):
    """A checkpoint's files are not what was written; it has been set aside, so that its epoch is trained again."""


@dataclass(frozen=True)
class State:
    """What an epoch starts from: the model's weights, and the optimizer's moments by parameter."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]


class Store(Runs):
    """A store at a path or an address. See the module for who may write what, and what a reader may conclude.

    With `mend` what is proven damaged is set aside; without it, it is only told in `set_aside_now`.
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
        self.set_aside_now: list[str] = []  # what this process found damaged, in words

    def using(self, what: str) -> Usage:
        """Say in a `with` block that a command uses this store: `clean` removes nothing meanwhile."""
        return Usage(self.leases, what)

    def record(self, key: str) -> EpochRecord | None:
        """Return the record of a checkpoint; None if the store has none, or has it damaged: then it is set aside."""
        look = self._look(key, Check.NONE if key in self._trusted else Check.CHEAP)
        if look.damage:
            look = self._second_look(key)
        if look.record is not None:
            self._trusted.add(key)
            if look.record.version == 0:
                self._old.add(key)
        return look.record

    def _look(self, key: str, check: Check, folder: str = "") -> Look:
        found = look_at(self.storage, folder or f"checkpoints/{key}", key, check, HASHED_BYTES - self._hashed_bytes)
        self._hashed_bytes += found.hashed_bytes
        return found

    def _second_look(self, key: str) -> Look:
        """Look again while nobody else can take the checkpoint away, and set it aside if it is damaged (rule 5)."""
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
        """Take a checkpoint that is proven damaged out of the chain, and keep it for a look."""
        place = f"damaged/{key}-{uuid.uuid4().hex[:8]}"
        self.storage.withdraw(f"checkpoints/{key}", place, _names(look.record))
        again = self._look(key, Check.FULL, place)
        # An object store moves only the files that the damaged record names, so another record is known by itself.
        another = not again.damage if self.storage.local else again.record != look.record
        if again.record is not None and another:
            self.storage.put_back(place, f"checkpoints/{key}", "facts.json")
            return again
        if again.record is None and not again.damage:  # another process was faster: there was nothing to move
            return self._look(key, Check.CHEAP)
        self.set_aside_now.append(f"checkpoint {key}: {look.damage}; set aside in {place}")
        self.storage.write(f"{place}/why.txt", f"{look.damage}\n".encode())
        return Look()

    def remove_checkpoint(self, key: str, to: str) -> None:
        """Take a checkpoint out of the chain for good: into the folder `to`, where it can be deleted in peace."""
        with self.leases.hold(f"remove-{key}"):
            self._trusted.discard(key)
            self.storage.withdraw(f"checkpoints/{key}", to, _names(self._look(key, Check.NONE).record))

    def commit(self, key: str, state: State, record: EpochRecord) -> tuple[EpochRecord, bool]:
        """Write a checkpoint, all of it or nothing. Returns the record that stands, and whether it is this one.

        Corrections of the head that `record.heads` has elsewhere are not written. Another process may have committed the key
        before: then this state is dropped, as it may differ in the last bits.
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
            named = {files[name].name: content for name, content in contents.items()}
            if self.storage.publish(f"checkpoints/{key}", {**named, "facts.json": sealed(written.to_json())}):
                self._trusted.add(key)
                return written, True
            standing = self.record(key)
            if standing is not None:
                return standing, False
        raise OSError(f"{self.address}/checkpoints/{key}: it cannot be written, and what is there cannot be read")

    def load(self, key: str) -> State:
        """The state of a checkpoint; raises DamagedCheckpointError, and sets it aside, if a file is not as written.

        The same where an earlier checkpoint is damaged that has a correction of its head.
        """
        state, record = self._written(key)
        for number, holder in record.heads.items():
            held = self._held(number, holder)
            state.model.update(held.model)
            state.optimizer.update(held.optimizer)
        return state

    def _held(self, number: str, key: str) -> State:
        """Return the weights and moments of a correction that a checkpoint has, in its files or elsewhere."""
        if key not in self._holders:
            state, record = self._written(key)
            moments = by_head(state.optimizer)
            own = {n: State(weights, moments.get(n, {})) for n, weights in by_head(state.model).items()}
            self._holders[key] = own, record.heads
        own, elsewhere = self._holders[key]
        # What had all corrections when it was named may have been written again, without those of before.
        return self._held(number, elsewhere[number]) if number in elsewhere else own[number]

    def _written(self, key: str) -> tuple[State, EpochRecord]:
        """Return what the files of a checkpoint have, and its record; see load."""
        from safetensors.torch import load

        for _ in range(MAX_TRIES):
            record = self.record(key)
            if record is None:
                break
            found = {
                name: content_of(self.storage, f"checkpoints/{key}/{known.name}", known)
                for name, known in record.files.items()
            }
            if None not in found.values():
                model, optimizer = (load(found[name] or b"") for name in ("model.safetensors", "optimizer.safetensors"))
                return State(model, optimizer), record
            self._second_look(key)
        words = [each for each in self.set_aside_now if each.startswith(f"checkpoint {key}:")]
        raise DamagedCheckpointError(words[-1] if words else f"checkpoint {key}: it is not there any more")

    def evaluations(self, key: str) -> dict[str, Errors]:
        """Return all errors that were measured of a state, by the hash of the split. Damaged files are told and left out."""
        found, damaged = kept_evaluations(self.storage, key, self._is_old(key))
        self.set_aside_now += [f"checkpoint {key}: the content of {name} has changed; measured again" for name in damaged]
        return found

    def add_evaluations(self, key: str, errors: Mapping[str, Errors]) -> None:
        """Keep errors with the state that they belong to; what was measured first stays."""
        keep_evaluations(self.storage, key, errors)

    def keep_tensors(self, key: str, name: str, tensors: dict[str, Tensor]) -> None:
        """Keep tensors that were derived from a state."""
        from safetensors.torch import save

        content = save(tensors)
        digest = hashlib.sha256(content).hexdigest().encode()
        replace_file(self.storage, f"derived/{key}/{name}.safetensors.sealed", digest + content)

    def kept_tensors(self, key: str, name: str) -> dict[str, Tensor] | None:
        """Return what `keep_tensors` kept; None if it is not there, or not as it was written."""
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
    """Return the files of a checkpoint, the one that completes it first."""
    return ["facts.json", *(file.name for file in (record.files.values() if record else ()))]
