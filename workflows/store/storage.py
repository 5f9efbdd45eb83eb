"""Where a store's files lie: a local folder, or any address that PyArrow's filesystems reach (s3://, gs://).

What is published is there completely or not at all. On a disk that is a rename; an object store has none, so there the
file that names the others is written last.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from pyarrow import fs

from data.errors import InputError
from data.reading.files import is_uri, make_folder, open_filesystem


class Storage(Protocol):
    """Files by relative paths with slashes."""

    address: str
    local: bool  # reads are cheap, and a folder appears at once by a rename

    def create(self) -> None:
        """Make the place itself, if it is not there."""

    def read(self, path: str) -> bytes:
        """The content of a file; raises FileNotFoundError where there is none."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file so that a reader sees all of it, or what was there before."""

    def publish(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write a folder so that a reader who finds its last file finds all of them; one that is there stands."""

    def names(self, folder: str) -> list[str]:
        """The names of what lies directly in a folder, sorted; none where there is no folder."""

    def size(self, folder: str) -> int:
        """The bytes of a file, or of all files below a folder."""

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""

    def move(self, folder: str, to: str) -> None:
        """Move a folder to where nothing is."""


def open_storage(address: str) -> Storage:
    """The storage at a path or an address."""
    return ObjectStorage(address) if is_uri(address) and not address.startswith("file://") else LocalStorage(address)


class LocalStorage:
    """A folder on a disk of this machine, or one that all machines mount."""

    local = True

    def __init__(self, address: str):
        self.folder = Path(address.removeprefix("file://")).absolute()
        self.address = str(self.folder)
        self._was_there = self.folder.is_dir()
        if not address or (self.folder.exists() and not self._was_there):
            raise InputError(
                f"--storage {address!r}: this is not a folder: name one, or an address such as s3://bucket/runs"
            )

    def create(self) -> None:
        """See Storage."""
        make_folder(self.folder)
        self._was_there = True

    def _check_still_there(self) -> None:
        """A place that went away (an unmounted disk) is neither empty nor made again in its stead."""
        if self._was_there and not self.folder.is_dir():
            raise OSError(errno.EIO, "the storage folder is gone", self.address)

    def _inside(self, path: str) -> Path:
        """A path to write to."""
        self._check_still_there()
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def read(self, path: str) -> bytes:
        """See Storage."""
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._check_still_there()
            raise FileNotFoundError(errno.ENOENT, "there is no such file", str(self.folder / path)) from None

    def write(self, path: str, content: bytes) -> None:
        """See Storage."""
        target = self._inside(path)
        scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
        try:
            _write_through(scratch, content)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)

    def publish(self, folder: str, files: Mapping[str, bytes]) -> None:
        """See Storage.

        Not synced: what a power cut takes away is seen by its size and hash, and is trained again. Syncing took half of
        the time of a commit.
        """
        target = self._inside(folder)
        scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
        scratch.mkdir()
        try:
            for name, content in files.items():
                (scratch / name).write_bytes(content)
            scratch.rename(target)
        except OSError:
            if not (target / list(files)[-1]).exists():  # unless another process was faster
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def names(self, folder: str) -> list[str]:
        """See Storage."""
        try:
            return sorted(os.listdir(self.folder / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, folder: str) -> int:
        """See Storage."""
        return sum(file.stat().st_size for file in _files_below(self.folder / folder))

    def remove(self, path: str) -> None:
        """See Storage."""
        target = self.folder / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def move(self, folder: str, to: str) -> None:
        """See Storage."""
        (self.folder / folder).rename(self._inside(to))


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names)


def _write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it: nothing makes it again."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class ObjectStorage:
    """A prefix in an object store. Each object is written whole by the store itself."""

    local = False

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self.filesystem, self.prefix = open_filesystem(self.address)
        self.prefix = self.prefix.rstrip("/")

    def create(self) -> None:
        """See Storage."""
        self.filesystem.create_dir(self.prefix, recursive=True)

    def _inner(self, path: str) -> str:
        return f"{self.prefix}/{path}" if path else self.prefix

    def read(self, path: str) -> bytes:
        """See Storage."""
        with self.filesystem.open_input_stream(self._inner(path), compression=None) as stream:
            content: bytes = stream.read()
            return content

    def write(self, path: str, content: bytes) -> None:
        """See Storage."""
        with self.filesystem.open_output_stream(self._inner(path), compression=None) as stream:
            stream.write(content)

    def publish(self, folder: str, files: Mapping[str, bytes]) -> None:
        """See Storage."""
        for name, content in files.items():
            self.write(f"{folder}/{name}", content)

    def _infos(self, folder: str, recursive: bool) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self._inner(folder), recursive=recursive, allow_not_found=True)
        found: list[fs.FileInfo] = self.filesystem.get_file_info(selector)
        return found

    def names(self, folder: str) -> list[str]:
        """See Storage."""
        return sorted(info.base_name for info in self._infos(folder, recursive=False))

    def size(self, folder: str) -> int:
        """See Storage."""
        single = self.filesystem.get_file_info(self._inner(folder))
        if single.type == fs.FileType.File:
            return int(single.size)
        return sum(info.size for info in self._infos(folder, recursive=True) if info.type == fs.FileType.File)

    def remove(self, path: str) -> None:
        """See Storage."""
        kind = self.filesystem.get_file_info(self._inner(path)).type
        if kind == fs.FileType.File:
            self.filesystem.delete_file(self._inner(path))
        elif kind == fs.FileType.Directory:
            self.filesystem.delete_dir(self._inner(path))

    def move(self, folder: str, to: str) -> None:
        """See Storage."""
        for info in self._infos(folder, recursive=True):
            if info.type == fs.FileType.File:
                name = info.path.removeprefix(self._inner(folder) + "/")
                self.filesystem.copy_file(info.path, self._inner(f"{to}/{name}"))
        self.remove(folder)
