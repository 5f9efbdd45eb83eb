"""Open files on any filesystem that PyArrow reads, and identify them by their content."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from data.errors import InputError
from data.writing import write_whole

SAMPLE_BYTES = 1 << 20
MOST_TIMES = 16  # the highest compression ratio measured; higher ones count as this
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}  # first bytes of compressed files


CHUNK_BYTES = 1 << 22
RECENT_NS = 3 * 10**9  # minimum age of an object before it is noted, by the clock of the store


def is_uri(path: str) -> bool:
    """Return whether the path is a URI, such as s3://bucket/key."""
    return re.match(r"[a-z][a-z0-9+.-]*://", path) is not None


def absolute(path: str, root: Path) -> str:
    """Return the path from `root`, with ~ expanded; a URI is unchanged."""
    if is_uri(path):
        return path
    try:
        return os.path.normpath(root / Path(path).expanduser())
    except RuntimeError as error:  # ~nobody
        raise InputError(f"{path}: {error}") from None


def make_folder(folder: Path) -> None:
    """Make a folder of the storage and its parents; raises InputError if that is not permitted."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
    except OSError as error:
        shown = folder.parent if folder.name.startswith(".") else folder  # name the parent of a scratch folder
        raise InputError(f"--storage: {shown} cannot be written ({error.strerror}): name another folder") from None


def open_filesystem(path: str) -> tuple[fs.FileSystem, str]:
    """Return the filesystem of a path or URI, and the path inside it."""
    if not is_uri(path):
        return fs.LocalFileSystem(), path
    scheme, host, rest = re.fullmatch(r"(.*?://)([^/]*)(.*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
    if scheme == "s3://" and "allow_delayed_open" not in rest:  # an object of up to 5 MiB is one request, not three
        rest += ("&" if "?" in rest else "?") + "allow_delayed_open=true"
    try:  # the brackets of a glob are not valid in a URI
        filesystem, inner = fs.FileSystem.from_uri(scheme + host + rest.replace("[", "%5B").replace("]", "%5D"))
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        shown, reason = (re.sub(r"(?<=://)[^/@]*@", "***@", text) for text in (path, str(error)))  # hide credentials
        raise InputError(f"{shown}: this address cannot be opened ({reason})") from None
    return filesystem, inner


def bare_name(path: str) -> str:
    """Return the file name without folders and without the query of a URI."""
    return (unquote(path.partition("?")[0]) if is_uri(path) else path).rpartition("/")[2]


def folder_name(path: str) -> str:
    """Return the name of the folder that a file is in, as {folder} gives it."""
    whole = unquote(path.partition("?")[0]) if is_uri(path) else path
    return whole.rpartition("/")[0].rpartition("/")[2]


def first_bytes(path: str, count: int) -> bytes:
    """Return the first stored bytes of a file; raises InputError if it cannot be read."""
    filesystem, inner = open_filesystem(path)
    try:
        with filesystem.open_input_stream(inner, compression=None) as stream:
            return bytes(stream.read(count))
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error})") from None


def open_input(path: str) -> IO[bytes]:
    """Return the file's bytes, decompressed if the content is compressed."""
    filesystem, inner = open_filesystem(path)
    return filesystem.open_input_stream(inner, compression=_codec(first_bytes(path, 4)))  # type: ignore[no-any-return]


def _codec(start: bytes) -> str | None:
    return next((name for mark, name in PACKED.items() if start.startswith(mark)), None)


def compression_ratio(path: str) -> float:
    """Return the compression ratio of the first MB of a file; 1 if the content is not compressed."""
    start = first_bytes(path, SAMPLE_BYTES)
    codec, size = _codec(start), 0
    if codec is None:
        return 1.0
    with contextlib.suppress(OSError), pa.CompressedInputStream(pa.BufferReader(start), codec) as stream:
        while size < MOST_TIMES * len(start) and (chunk := stream.read(SAMPLE_BYTES)):
            size += len(chunk)  # ends inside a compressed block, with an error
    return size / len(start)


def is_packed(path: str) -> bool:
    """Return whether a file is compressed as a whole."""
    return first_bytes(path, 4).startswith(tuple(PACKED))


def file_bytes(path: str) -> int:
    """Return the size of a file."""
    return file_stamp(path)[0]


class FileNotes:
    """Notes about source files, kept in a folder so that unchanged files are not read again.

    A file is unchanged while its stamp is. No note is kept of an object written a few seconds ago: it may be written
    again within the second that its time is rounded to. Nothing is written before `save`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._new: dict[str, dict[str, Any]] = {}

    def get(self, path: str, fact: str) -> object:
        """Return the note about the file in its present state, or None."""
        note = self._new.get(path) or self._read(path)
        return note["facts"].get(fact) if note and note["stamp"] == file_stamp(path) else None

    def put(self, path: str, fact: str, value: object) -> None:
        """Add a note about the file in its present state."""
        note, stamp = self._new.get(path) or self._read(path), file_stamp(path)
        facts = note["facts"] if note and note["stamp"] == stamp else {}
        self._new[path] = {"path": path, "stamp": stamp, "facts": {**facts, fact: value}}

    def save(self) -> None:
        """Write the notes that were added."""
        for path, note in self._new.items():
            if is_uri(path) and time.time_ns() - note["stamp"][1] < RECENT_NS:
                continue
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._note(path), json.dumps(note).encode())
        self._new.clear()

    def content_hash(self, path: str) -> str:
        """Return the SHA-256 of the file's bytes."""
        known = self.get(path, "sha256")
        if isinstance(known, str):
            return known
        digest = hashlib.sha256()
        filesystem, inner = open_filesystem(path)
        try:
            with filesystem.open_input_stream(inner, compression=None) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
        except OSError as error:
            raise InputError(f"{path}: it cannot be read ({error})") from None
        self.put(path, "sha256", digest.hexdigest())
        return digest.hexdigest()

    def content_hashes(self, paths: Iterable[str]) -> dict[str, Future[str]]:
        """Return the future result of `content_hash` for each file, computed on all cores."""
        with ThreadPoolExecutor() as pool:
            return {path: pool.submit(self.content_hash, path) for path in paths}

    def _note(self, path: str) -> Path:
        return self.folder / f"{hashlib.sha256(path.encode()).hexdigest()[:32]}.json"

    def _read(self, path: str) -> dict[str, Any] | None:
        try:
            note: dict[str, Any] = json.loads(self._note(path).read_text())
        except (OSError, ValueError, RecursionError):
            return None
        return note if isinstance(note, dict) and isinstance(note.get("facts"), dict) and "stamp" in note else None


def file_stamp(path: str) -> list[int]:
    """Return a file's size and modification time; for local files also the change time, which programs cannot set back.

    A file rewritten with the same size and modification time has another change time or another inode.
    """
    if is_uri(path):
        filesystem, inner = open_filesystem(path)
        info = filesystem.get_file_info(inner)
        return [info.size or 0, info.mtime_ns or 0]
    try:
        status = os.stat(path)
    except OSError:
        return [0, 0]
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
