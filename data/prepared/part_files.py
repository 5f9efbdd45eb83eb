"""The files of the parts of a prepared dataset: fetched when needed, verified once per machine."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyarrow import fs

from data.errors import FailedError
from data.prepared.eviction import make_room
from data.prepared.origin import MANIFEST, read_origin
from data.reading.files import open_filesystem
from data.samples.part import Part
from data.samples.part_files import file_facts
from data.writing import write_whole


class DamagedRowsError(FailedError):
    """Prepared rows have changed since they were written."""


class PartFiles:
    """The files of a dataset's parts in a local folder; a missing file is fetched from the folder's origin.

    Each file is hashed when this machine opens it for the first time, and again when its size or modification time has
    changed.
    """

    def __init__(self, folder: Path, parts: Sequence[Part]):
        self.folder, self.origin = folder, read_origin(folder)
        self.known = {name: facts for part in parts for name, facts in part.files.items()}
        self.names = [name for number in range(len(parts)) for name in part_names(number)]
        self._checked: dict[str, list[int]] | None = None

    @property
    def hashed(self) -> bool:
        """Return whether all files have hashes, so that all are checked when opened; earlier versions wrote none."""
        return all(name in self.known for name in self.names)

    def open(self, name: str) -> Path:
        """Return the path of a local, intact file; raises DamagedRowsError."""
        path = self.folder / name
        if path.is_dir():
            raise DamagedRowsError(f"{path} is damaged: a folder is in the place of the file")
        if path.exists() and self.origin is not None and not self._is_checked(path) and self._is_damaged(path):
            path.unlink()  # a copy, which is fetched again
        if not path.exists():
            self._fetch(name)
        if not self._is_checked(path):
            if self._is_damaged(path):
                raise DamagedRowsError(f"{path} is damaged: its hash differs from that of the written file")
            self._note(path)
        with contextlib.suppress(OSError):  # the least recently used file leaves the cache first
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return path

    def problem(self) -> str | None:
        """Return the problem of the local files, or of the origin; None if there is none."""
        if self.origin is not None:
            filesystem, inner = open_filesystem(self.origin)
            infos = filesystem.get_file_info(fs.FileSelector(inner, allow_not_found=True))
            absent = sorted({*self.names, MANIFEST} - {info.base_name for info in infos})
            if absent:
                return f"{self.origin} lacks {absent[0]}"
            return None
        for name in self.names:
            try:
                self.open(name)
            except (DamagedRowsError, FileNotFoundError) as error:
                return str(error)
        return None

    def _fetch(self, name: str) -> None:
        if self.origin is None:
            raise FileNotFoundError(f"{self.folder / name} is missing")
        with self._alone():
            if not (self.folder / name).exists():  # another process may have fetched it meanwhile
                self._copy(name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock the dataset against other processes of this machine, so that each file is fetched once."""
        lock = self.folder.parent / "sources" / f"fetching-{self.folder.name}.lock"
        lock.parent.mkdir(exist_ok=True)
        with lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # released by the system when the process ends
            yield

    def _copy(self, name: str) -> None:
        filesystem, inner = open_filesystem(f"{self.origin}/{name}")
        num_bytes = self.known[name][0] if name in self.known else filesystem.get_file_info(inner).size
        make_room(self.folder.parents[2], num_bytes)
        for attempt in range(2):
            scratch = self.folder / f".fetching-{uuid.uuid4().hex[:8]}"
            try:
                fs.copy_files(inner, str(scratch), source_filesystem=filesystem)
                if name in self.known and file_facts(scratch) != tuple(self.known[name]):
                    if attempt:
                        filesystem.delete_file(f"{inner.rpartition('/')[0]}/{MANIFEST}")  # it is then prepared again
                        raise DamagedRowsError(
                            f"{self.origin}/{name} is damaged: its hash differs from that of the written file; run again to "
                            "prepare the dataset again"
                        )
                    continue
                scratch.rename(self.folder / name)
                self._note(self.folder / name)
                return
            finally:
                scratch.unlink(missing_ok=True)

    def _is_damaged(self, path: Path) -> bool:
        facts = self.known.get(path.name)  # None in a dataset of an earlier version, without hashes
        # A second read rules out that only the first one was bad.
        return facts is not None and file_facts(path) != tuple(facts) and file_facts(path) != tuple(facts)

    def _is_checked(self, path: Path) -> bool:
        if self._checked is None:
            self._checked = {}
            with contextlib.suppress(OSError, ValueError, TypeError):
                self._checked = dict(json.loads(self._notes().read_text()))
        return self._checked.get(path.name) == _stamp(path)

    def _note(self, path: Path) -> None:
        """Remember that this machine has verified the file in its present state."""
        self._is_checked(path)
        assert self._checked is not None
        self._checked[path.name] = _stamp(path)
        with contextlib.suppress(OSError):  # where nothing can be written, the next process checks again
            self._notes().parent.mkdir(exist_ok=True)
            write_whole(self._notes(), json.dumps(self._checked).encode())

    def _notes(self) -> Path:
        """Return the file with this machine's notes: several machines may mount the folder, each verifies for itself."""
        machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
        return self.folder.parent / "sources" / f"checked-{self.folder.name}-{machine}.json"


def part_names(number: int) -> tuple[str, str]:
    """Return the files of a part."""
    return f"values-{number:05d}.arrow", f"samples-{number:05d}.arrow"


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
