"""The store: checkpoints under their addresses, the evaluations that belong to them, and runs that point at them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a look-up needs no torch
    from torch import Tensor

FACTS = "facts.json"


class DamagedCheckpointError(Exception):
    """A checkpoint's files are not what was written; it has been set aside, so that its epoch is trained again."""


@dataclass(frozen=True)
class State:
    """What an epoch starts from: the model's weights, and the optimizer's moments by parameter."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]


class Store:
    """A local folder. Whatever a reader finds under an address was written completely."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.checkpoints = folder / "checkpoints"

    def facts(self, key: str) -> dict[str, Any] | None:
        """The facts of a checkpoint, or None where the store does not hold it."""
        try:
            found: dict[str, Any] = json.loads((self.checkpoints / key / FACTS).read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            self.set_aside(key, "its facts.json cannot be read")
            return None
        return found

    def commit(self, key: str, state: State, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write a checkpoint, all of it or nothing; one that is there already stands. Returns its facts."""
        from safetensors.torch import save

        home = self.checkpoints / key
        scratch = self.checkpoints / f".{key}-{uuid.uuid4().hex[:8]}"
        scratch.mkdir(parents=True)
        try:
            files = {"model.safetensors": save(state.model), "optimizer.safetensors": save(state.optimizer)}
            sums = {}
            for name, content in files.items():
                sums[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                _write_through(scratch / name, content)
            written = {"key": key, **facts, "when": time.time(), "files": sums}
            _write_through(scratch / FACTS, json.dumps(written, indent=1).encode())
            try:
                scratch.rename(home)
            except OSError:
                if self.facts(key) is None:
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return written

    def load(self, key: str) -> State:
        """The state of a checkpoint; raises DamagedCheckpointError, and sets it aside, where a file is not as written."""
        from safetensors.torch import load

        facts = self.facts(key)
        contents = {}
        for name, known in (facts or {"files": {}})["files"].items():
            try:
                contents[name] = (self.checkpoints / key / name).read_bytes()
            except OSError:
                contents[name] = b""
            if hashlib.sha256(contents[name]).hexdigest() != known["sha256"]:
                self.set_aside(key, f"{name} is not as it was written")
                raise DamagedCheckpointError(f"checkpoint {key}: {name} is not as it was written; set aside in damaged/")
        if facts is None:
            raise DamagedCheckpointError(f"checkpoint {key}: it is not there")
        return State(load(contents["model.safetensors"]), load(contents["optimizer.safetensors"]))

    def set_aside(self, key: str, why: str) -> None:
        """Take a checkpoint that cannot be trusted out of the chain, and keep it for a look."""
        place = self.folder / "damaged" / f"{key}-{uuid.uuid4().hex[:8]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        (self.checkpoints / key).rename(place)
        (place / "why.txt").write_text(why + "\n")

    def evaluations(self, key: str) -> dict[str, dict[str, Any]]:
        """All errors that were measured of a state, by the hash of the split that they were measured on."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted((self.checkpoints / key).glob("evaluations-*.json")):
            try:
                found.update(json.loads(path.read_text()))
            except ValueError:
                path.unlink(missing_ok=True)
        return found

    def add_evaluations(self, key: str, errors: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep errors with the state that they belong to."""
        name = hashlib.sha256("".join(sorted(errors)).encode()).hexdigest()[:16]
        write_whole(self.checkpoints / key / f"evaluations-{name}.json", json.dumps(errors).encode())

    def run_folder(self, name: str) -> Path:
        """Where a run keeps what a person looks at."""
        return self.folder / "runs" / name

    def runs(self) -> dict[str, dict[str, Any]]:
        """The result of every run, by name, the latest first."""
        paths = sorted((self.folder / "runs").glob("*/result.json"), key=lambda path: -path.stat().st_mtime)
        return {path.parent.name: json.loads(path.read_text()) for path in paths}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it, or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        _write_through(scratch, content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it: a checkpoint must survive the machine."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
