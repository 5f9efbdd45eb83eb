"""Storage under a prefix of an object store, which writes each object atomically."""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Mapping, Sequence

from pyarrow import fs

from data.reading.files import open_filesystem
from workflows.store.conditional import conditional_writer

WITHDRAWN = b""  # replaces the file that completed a folder: not every store has conditional deletes


class ObjectStorage:
    """A prefix in an object store. Each object is written whole by the store itself."""

    local = False

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self.filesystem, self.prefix = open_filesystem(self.address)
        self.prefix = self.prefix.rstrip("/")
        self.writer = conditional_writer(self.filesystem)

    @functools.cached_property
    def exclusive(self) -> bool:
        """See Storage. PyArrow's filesystems other than S3 (gs://, abfs://) have no conditional write."""
        return self.writer is not None and self.writer.keeps_conditions(self.prefix)

    def create(self) -> None:
        """See Storage."""
        self.filesystem.create_dir(self.prefix, recursive=True)

    def _inner(self, path: str) -> str:
        return f"{self.prefix}/{path}" if path else self.prefix

    def read(self, path: str) -> bytes:
        """See Storage. PyArrow reads the length first, and fails if the file is replaced between the two requests."""
        if self.writer is not None:
            existing = self.writer.read(self._inner(path))
            if existing is None:
                raise FileNotFoundError(errno.ENOENT, "there is no such file", f"{self.address}/{path}")
            return existing
        with self.filesystem.open_input_stream(self._inner(path), compression=None) as stream:
            content: bytes = stream.read()
            return content

    def write(self, path: str, content: bytes) -> None:
        """See Storage."""
        with self.filesystem.open_output_stream(self._inner(path), compression=None) as stream:
            stream.write(content)

    def create_file(self, path: str, content: bytes) -> bool:
        """See Storage."""
        if self.writer is not None:
            return self.writer.create(self._inner(path), content)
        if self.filesystem.get_file_info(self._inner(path)).type != fs.FileType.NotFound:
            return False
        self.write(path, content)
        return True

    def take_over(self, path: str, expected: bytes, content: bytes) -> bool:
        """See Storage."""
        if self.writer is not None:
            return self.writer.take_over(self._inner(path), expected, content)
        with contextlib.suppress(FileNotFoundError):
            if self.read(path) == expected:
                self.write(path, content)
                return True
        return False

    def publish(self, folder: str, files: Mapping[str, bytes]) -> bool:
        """See Storage. `files` other than the last need names that no other attempt uses."""
        *others, last = files
        for name in others:
            self.write(f"{folder}/{name}", files[name])
        if self._complete(f"{folder}/{last}", files[last]):
            return True
        for name in others:
            self.remove(f"{folder}/{name}")
        return False

    def _complete(self, path: str, content: bytes) -> bool:
        return self.create_file(path, content) or self.take_over(path, WITHDRAWN, content)

    def _infos(self, folder: str, recursive: bool) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self._inner(folder), recursive=recursive, allow_not_found=True)
        infos: list[fs.FileInfo] = self.filesystem.get_file_info(selector)
        return infos

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
        if kind == fs.FileType.File and self.writer is not None:
            self.writer.delete(self._inner(path))
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(self._inner(path))
        elif kind == fs.FileType.Directory:
            self.filesystem.delete_dir(self._inner(path))

    def withdraw(self, folder: str, to: str, names: Sequence[str]) -> None:
        """See Storage. The file that completes the folder is replaced by an empty one, unless it was rewritten."""
        first, *others = names
        try:
            content = self.read(f"{folder}/{first}")
        except FileNotFoundError:
            return
        for name in others:
            with contextlib.suppress(FileNotFoundError):
                self.filesystem.copy_file(self._inner(f"{folder}/{name}"), self._inner(f"{to}/{name}"))
        self.write(f"{to}/{first}", content)
        if content != WITHDRAWN and self.take_over(f"{folder}/{first}", content, WITHDRAWN):
            for name in others:
                self.remove(f"{folder}/{name}")
        else:
            self.remove(to)

    def put_back(self, folder: str, to: str, last: str) -> None:
        """See Storage. The files that `last` names were not withdrawn."""
        self._complete(f"{to}/{last}", self.read(f"{folder}/{last}"))
        self.remove(folder)
