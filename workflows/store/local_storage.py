"""Storage in a folder, on this machine or mounted by all machines."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from data.errors import InputError
from data.reading.files import make_folder

T = TypeVar("T")
OF_STATES = ("checkpoints", "derived", "evaluations")  # folders named by keys, so nobody else's files are in them
MOVED_AWAY = 10  # tries of a write while `clean` removes the folder of the file


class LocalStorage:
    """A folder on a disk of this machine, or one that all machines mount."""

    local = True
    exclusive = True

    def __init__(self, address: str):
        self.folder = Path(address.removeprefix("file://")).absolute()
        self.address = str(self.folder)
        self._existed = self.folder.is_dir()
        if not address or (self.folder.exists() and not self._existed):
            raise InputError(
                f"--storage {address!r}: this is not a folder: name one, or an address such as s3://bucket/runs"
            )

    def create(self) -> None:
        """See Storage."""
        make_folder(self.folder)
        self._existed = True

    def _check_still_there(self) -> None:
        """Raise if the folder has disappeared (an unmounted disk): it must not look empty or be created again."""
        if self._existed and not self.folder.is_dir():
            raise OSError(errno.EIO, "the storage folder is gone", self.address)

    def _target(self, path: str) -> Path:
        """Return a path to write to."""
        self._check_still_there()
        target = self.folder / path
        for _ in range(MOVED_AWAY):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                break
            except (FileExistsError, NotADirectoryError):  # or removed while mkdir was checking it
                self._set_aside_file(target.parent)
        return target

    def _set_aside_file(self, folder: Path) -> None:
        """Set aside a file that is where a folder should be; raises NotADirectoryError if it may not be ours."""
        for relative in (*reversed(folder.relative_to(self.folder).parents), folder.relative_to(self.folder)):
            path = self.folder / relative
            if path.is_dir() or not os.path.lexists(path):
                continue
            if len(relative.parts) < 2 or relative.parts[0] not in OF_STATES:
                raise NotADirectoryError(errno.ENOTDIR, "this is a file where a folder should be: move it away", str(path))
            aside = self.folder / "damaged" / f"{relative.name}-{uuid.uuid4().hex[:8]}"
            aside.mkdir(parents=True)
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                path.rename(aside / relative.name)
            (aside / "why.txt").write_text(f"a file was in the place of the folder {relative}\n")
            return

    def read(self, path: str) -> bytes:
        """See Storage."""
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._check_still_there()
            if os.path.islink(self.folder / path):  # unreadable is not missing
                raise IsADirectoryError(errno.EISDIR, "this is a broken link", str(self.folder / path)) from None
            raise FileNotFoundError(errno.ENOENT, "there is no such file", str(self.folder / path)) from None

    def write(self, path: str, content: bytes) -> None:
        """See Storage."""

        def write_to(target: Path) -> None:
            scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
            try:
                _write_through(scratch, content)
                scratch.replace(target)
            finally:
                scratch.unlink(missing_ok=True)

        self._retry(path, write_to)

    def create_file(self, path: str, content: bytes) -> bool:
        """See Storage. A hard link appears with its content, or not at all."""

        def write_to(target: Path) -> bool:
            scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
            try:
                scratch.write_bytes(content)
                os.link(scratch, target)
            except FileExistsError:
                return False
            finally:
                scratch.unlink(missing_ok=True)
            return True

        return self._retry(path, write_to)

    def _retry(self, path: str, write_to: Callable[[Path], T]) -> T:
        """Write to a path, again if its folder was moved away meanwhile."""
        for _ in range(MOVED_AWAY):
            with contextlib.suppress(FileNotFoundError):
                return write_to(self._target(path))
        return write_to(self._target(path))

    def take_over(self, path: str, expected: bytes, content: bytes) -> bool:
        """See Storage. The file is renamed first, which only one process can do, then compared."""
        target = self.folder / path
        taken = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
        try:
            target.rename(taken)
            if taken.read_bytes() != expected:  # another process was faster: its file is put back
                os.link(taken, target)
                return False
        except (FileNotFoundError, FileExistsError):
            return False
        finally:
            taken.unlink(missing_ok=True)
        return self.create_file(path, content)

    def publish(self, folder: str, files: Mapping[str, bytes]) -> bool:
        """See Storage. Not synced: files lost in a power cut are noticed by size and hash, and trained again.

        Syncing took half of the time of a commit.
        """
        target = self._target(folder)
        if os.path.lexists(target) and not target.is_dir():
            self._set_aside_file(target)
        scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
        scratch.mkdir()
        try:
            for name, content in files.items():
                (scratch / name).write_bytes(content)
            scratch.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):  # another process was faster
                return False
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return True

    def names(self, folder: str) -> list[str]:
        """See Storage."""
        try:
            return sorted(os.listdir(self.folder / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, folder: str) -> int:
        """See Storage."""
        total = 0
        for file in _files_below(self.folder / folder):
            with contextlib.suppress(FileNotFoundError):  # the file was removed after it was listed
                total += file.stat().st_size
        return total

    def remove(self, path: str) -> None:
        """See Storage."""
        target = self.folder / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def withdraw(self, folder: str, to: str, names: Sequence[str]) -> None:  # noqa: ARG002
        """See Storage."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / folder).rename(self._target(to))

    def put_back(self, folder: str, to: str, last: str) -> None:  # noqa: ARG002
        """See Storage."""
        try:
            (self.folder / folder).rename(self._target(to))
        except OSError:
            self.remove(folder)


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names)


def _write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on disk, because it cannot be computed again."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
