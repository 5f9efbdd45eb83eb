"""Check a prepared dataset: its manifest, every byte of its parts, and the files beside them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator

from data.prepared.distances import KEPT as DISTANCES
from data.prepared.manifest import HASH, MANIFEST, Manifest
from data.prepared.part_files import part_names
from data.reading.files import open_filesystem
from data.signed import read_signed
from workflows.store.store import Store

FINGERPRINT = re.compile(r"[0-9a-f]{32}")
KEPT = ("quartiles.json", DISTANCES)
SOURCES = "sources"  # notes about source files, beside the datasets
CHUNK_BYTES = 1 << 22
Problems = Iterator[tuple[str, str, str]]  # path, kind, what is wrong


def prepared_problems(store: Store, name: str) -> Problems:
    """Yield what is wrong with prepared/NAME, by path and kind (see verify.Finding)."""
    folder = f"prepared/{name}"
    names = store.storage.names(folder)
    if name.startswith(".") or name == SOURCES:
        return
    if MANIFEST not in names:
        is_ours = FINGERPRINT.fullmatch(name)
        yield (
            folder,
            "damaged" if is_ours else "foreign",
            "it has no manifest; prepare writes it again" if is_ours else "not ours",
        )
        return
    try:
        manifest, has_hash = _manifest(store, f"{folder}/{MANIFEST}")
    except (ValueError, KeyError, TypeError, AttributeError, IsADirectoryError) as error:
        yield f"{folder}/{MANIFEST}", "damaged", f"{error!r}; prepare writes the dataset again"
        return
    if manifest.fingerprint != name:
        yield folder, "foreign", f"its manifest is that of {manifest.fingerprint or 'no dataset'}"
        return
    if not has_hash:
        yield f"{folder}/{MANIFEST}", "unchecked", "an earlier version wrote it without a hash"
    for number, part in enumerate(manifest.parts):
        for file in part_names(number):
            yield from _part_problems(store, f"{folder}/{file}", file in names, part.files.get(file))
    for file in set(KEPT) & set(names):
        yield from _kept_problems(store, f"{folder}/{file}")


def _manifest(store: Store, path: str) -> tuple[Manifest, bool]:
    written = store.storage.read(path)
    return Manifest.from_json(read_signed(written, HASH)), f'"{HASH}"'.encode() in written


def _part_problems(store: Store, path: str, exists: bool, known: tuple[int, str] | None) -> Problems:
    if not exists:
        yield path, "damaged", "it is missing; prepare writes the dataset again"
    elif known is None:
        yield path, "unchecked", "an earlier version wrote it without a hash"
    elif _summary(f"{store.address}/{path}") != tuple(known):
        yield path, "damaged", "its content has changed; prepare writes the dataset again"


def _summary(address: str) -> tuple[int, str] | None:
    """Return the length and SHA-256 of a file, read in pieces because a part may exceed the memory; None without a file."""
    filesystem, inner = open_filesystem(address)
    digest, count = hashlib.sha256(), 0
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        with filesystem.open_input_stream(inner, compression=None) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                count += len(chunk)
        return count, digest.hexdigest()
    return None


def _kept_problems(store: Store, path: str) -> Problems:
    with contextlib.suppress(ValueError, IsADirectoryError):
        read_signed(store.storage.read(path), required=True)
        return
    old = False
    with contextlib.suppress(ValueError, IsADirectoryError):
        content = json.loads(store.storage.read(path))
        three_rows = isinstance(content, list) and all(isinstance(row, list) for row in content) and len(content) == 3
        old = three_rows or (isinstance(content, dict) and "sha256" not in content)
    yield path, "unchecked" if old else "damaged", "it has no valid hash and is computed again when needed"
