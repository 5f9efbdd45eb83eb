"""Look at a checkpoint once: return its record, its damage, or that it is missing. store.py decides what to do."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Any

from data.errors import InputError
from workflows.store.kept import EpochRecord, FileRecord, unsealed
from workflows.store.storage import Storage


class Check(Enum):
    """How thoroughly a look checks the files of a checkpoint."""

    NONE = "not at all"
    CHEAP = "by size and, up to a limit, by hash; not at all in an object store"
    FULL = "by hash"


@dataclass(frozen=True)
class Look:
    """The result of one look at a checkpoint: its record and its damage; it is missing if it has neither."""

    record: EpochRecord | None = None
    damage: str = ""
    hashed_bytes: int = 0  # read by this look


def look_at(storage: Storage, folder: str, key: str, check: Check, limit: int = 0) -> Look:
    """Look at the checkpoint `key` in a folder; a cheap check hashes at most `limit` bytes of files."""
    try:
        written = storage.read(f"{folder}/facts.json")
        if not written and not storage.local:  # a removed checkpoint leaves an empty file in an object store
            return Look()
        content = unsealed(written)
    except FileNotFoundError:
        return Look(damage="facts.json is missing" if storage.local and storage.names(folder) else "")
    except IsADirectoryError:
        content = None
    record = _record(content)
    if record is None or record.key != key:
        return Look(damage="the content of facts.json has changed")
    if check == Check.NONE or (check == Check.CHEAP and not storage.local):
        return Look(record)
    hashed = 0
    for name, file in record.files.items():
        path, damage = f"{folder}/{file.name}", f"the content of {name} has changed"
        if storage.size(path) != file.bytes:
            return Look(record, damage, hashed)
        if check == Check.FULL or hashed + file.bytes <= limit:
            hashed += file.bytes
            if content_of(storage, path, file) is None:
                return Look(record, damage, hashed)
    return Look(record, "", hashed)


def content_of(storage: Storage, path: str, file: FileRecord) -> bytes | None:
    """Return the content of a file if it is intact; None if it is missing or changed."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        content = storage.read(path)
        if hashlib.sha256(content).hexdigest() == file.sha256:
            return content
    return None


def _record(content: dict[str, Any] | None) -> EpochRecord | None:
    if content is None:
        return None
    try:
        return EpochRecord.from_json(content)
    except InputError:  # a later version is not damage
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
