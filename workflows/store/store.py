"""The store: checkpoints under their addresses, the evaluations that belong to them, and runs that point at them."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workflows.store.storage import Storage, open_storage

if TYPE_CHECKING:  # a look-up needs no torch
    from torch import Tensor

Facts = dict[str, Any]
HASHED_BYTES = 1 << 30  # of checkpoints that a look-up checks byte by byte, about a second; beyond it by their sizes


class DamagedCheckpointError(Exception):
    """A checkpoint's files are not what was written; it has been set aside, so that its epoch is trained again."""


@dataclass(frozen=True)
class State:
    """What an epoch starts from: the model's weights, and the optimizer's moments by parameter."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]


class Store:
    """checkpoints/KEY/ with model.safetensors, optimizer.safetensors and facts.json; runs/NAME/ with what a person reads.

    Whatever a reader finds under an address was written completely. No file of it is ever unpickled.
    """

    def __init__(self, address: str):
        self.storage: Storage = open_storage(str(address))
        self.address = self.storage.address
        self._trusted: set[str] = set()  # checkpoints that this process has written or checked
        self._hashed_bytes = 0
        self.set_aside_now: list[str] = []  # what this process found damaged, in words

    def facts(self, key: str) -> Facts | None:
        """The facts of a checkpoint; None where the store does not hold it, or holds it damaged: then it is set aside."""
        folder = f"checkpoints/{key}"
        try:
            found = _unsealed(self.storage.read(f"{folder}/facts.json"))
        except FileNotFoundError:
            # In an object store the other files come first: a commit may be under way there.
            if self.storage.local and self.storage.names(folder):
                self.set_aside(key, "facts.json is missing")
            return None
        if found is None or found.get("key") != key:
            self.set_aside(key, "facts.json is not as it was written")
            return None
        if self.storage.local and key not in self._trusted:
            broken = self._broken_file(key, found)
            if broken:
                self.set_aside(key, f"{broken} is not as it was written")
                return None
            self._trusted.add(key)
        return found

    def _broken_file(self, key: str, facts: Facts) -> str | None:
        """The first file of a checkpoint that is not as it was written, by its size and, while reading is cheap, by hash."""
        for name, known in facts["files"].items():
            path = f"checkpoints/{key}/{name}"
            if self.storage.size(path) != known["bytes"]:
                return str(name)
            self._hashed_bytes += known["bytes"]
            if self._hashed_bytes <= HASHED_BYTES and hashlib.sha256(self.storage.read(path)).hexdigest() != known["sha256"]:
                return str(name)
        return None

    def commit(self, key: str, state: State, facts: Mapping[str, Any]) -> Facts:
        """Write a checkpoint, all of it or nothing; one that is there already stands. Returns its facts."""
        from safetensors.torch import save

        files = {"model.safetensors": save(state.model), "optimizer.safetensors": save(state.optimizer)}
        sums = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
        }
        written = {"key": key, **facts, "when": time.time(), "files": sums}
        self.storage.publish(f"checkpoints/{key}", {**files, "facts.json": _sealed(written)})
        self._trusted.add(key)
        return written

    def load(self, key: str) -> State:
        """The state of a checkpoint; raises DamagedCheckpointError, and sets it aside, where a file is not as written."""
        from safetensors.torch import load

        facts = self.facts(key)
        if facts is None:
            raise DamagedCheckpointError(f"checkpoint {key}: it is not there any more")
        contents = {}
        for name, known in facts["files"].items():
            try:
                contents[name] = self.storage.read(f"checkpoints/{key}/{name}")
            except FileNotFoundError:
                contents[name] = b""
            if hashlib.sha256(contents[name]).hexdigest() != known["sha256"]:
                self.set_aside(key, f"{name} is not as it was written")
                raise DamagedCheckpointError(self.set_aside_now[-1])
        return State(load(contents["model.safetensors"]), load(contents["optimizer.safetensors"]))

    def set_aside(self, key: str, why: str) -> None:
        """Take a checkpoint that cannot be trusted out of the chain, and keep it for a look."""
        place = f"damaged/{key}-{uuid.uuid4().hex[:8]}"
        self._trusted.discard(key)
        self.set_aside_now.append(f"checkpoint {key}: {why}; set aside in {place}")
        self.storage.move(f"checkpoints/{key}", place)
        self.storage.write(f"{place}/why.txt", f"{why}\n".encode())

    def evaluations(self, key: str) -> dict[str, Facts]:
        """All errors that were measured of a state, by the hash of the split that they were measured on."""
        found: dict[str, Facts] = {}
        for name in self.storage.names(f"checkpoints/{key}"):
            if name.startswith("evaluations-"):
                measured = _unsealed(self.storage.read(f"checkpoints/{key}/{name}"))
                if measured is None:
                    self.set_aside_now.append(f"checkpoint {key}: {name} is not as it was written; measured again")
                    self.storage.remove(f"checkpoints/{key}/{name}")
                else:
                    found.update(measured)
        return found

    def add_evaluations(self, key: str, errors: Mapping[str, Facts | None]) -> None:
        """Keep errors with the state that they belong to."""
        name = hashlib.sha256("".join(sorted(errors)).encode()).hexdigest()[:16]
        self.storage.write(f"checkpoints/{key}/evaluations-{name}.json", _sealed(dict(errors)))

    def keep_tensors(self, key: str, name: str, tensors: dict[str, Tensor]) -> None:
        """Keep tensors with the state that they were derived from."""
        from safetensors.torch import save

        content = save(tensors)
        digest = hashlib.sha256(content).hexdigest().encode()
        self.storage.write(f"checkpoints/{key}/{name}.safetensors.sealed", digest + content)

    def kept_tensors(self, key: str, name: str) -> dict[str, Tensor] | None:
        """What `keep_tensors` kept; None where it is not there, or not as it was written."""
        from safetensors.torch import load

        try:
            content = self.storage.read(f"checkpoints/{key}/{name}.safetensors.sealed")
        except FileNotFoundError:
            return None
        return load(content[64:]) if hashlib.sha256(content[64:]).hexdigest().encode() == content[:64] else None

    def write_run(self, name: str, file: str, content: bytes) -> None:
        """Write one of the files of a run."""
        self.storage.write(f"runs/{name}/{file}", content)

    def run(self, name: str) -> Facts | None:
        """What a run came to (result.json), or how far it is (progress.json) where that is newer; None: no such run."""
        return max(
            (each for each in (self.result(name), self.progress(name)) if each is not None),
            key=lambda each: float(each.get("when", 0)),
            default=None,
        )

    def result(self, name: str) -> Facts | None:
        """What a run last came to, whatever it is doing now."""
        return self._json(f"runs/{name}/result.json")

    def progress(self, name: str) -> Facts | None:
        """How far a run is that has not ended, or where and why it stopped."""
        return self._json(f"runs/{name}/progress.json")

    def search(self, name: str) -> Facts | None:
        """What a search came to."""
        return self._json(f"runs/{name}/search.json")

    def searching(self, name: str) -> Facts | None:
        """How far a search is that has not ended, and what it has reached."""
        return self._json(f"runs/{name}/searching.json")

    def searches(self) -> dict[str, Facts]:
        """All searches by name, the latest first; of one that goes on or was stopped, how far it is."""
        both = {name: (self.searching(name), self.search(name)) for name in self.storage.names("runs")}
        known = {name: under_way or ended for name, (under_way, ended) in both.items()}
        found = {name: facts for name, facts in known.items() if facts is not None}
        return dict(sorted(found.items(), key=lambda each: -float(each[1].get("when", 0))))

    def runs(self) -> dict[str, Facts]:
        """All runs by name, the latest first."""
        found = {name: self.run(name) for name in self.storage.names("runs")}
        known = {name: facts for name, facts in found.items() if facts is not None}
        return dict(sorted(known.items(), key=lambda each: -float(each[1].get("when", 0))))

    def _json(self, path: str) -> Facts | None:
        try:
            found: Facts = json.loads(self.storage.read(path))
        except (FileNotFoundError, ValueError):
            return None
        return found


def _sealed(content: Facts) -> bytes:
    """JSON with a hash of itself, so that a changed digit is seen."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({"content": content, "sha256": digest}, indent=1).encode()


def _unsealed(written: bytes) -> Facts | None:
    """What was sealed, or None where it is not as it was written."""
    try:
        found = json.loads(written)
        content: Facts = found["content"]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return content if digest == found["sha256"] else None
    except (ValueError, KeyError, TypeError):
        return None
