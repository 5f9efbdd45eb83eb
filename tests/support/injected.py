"""Failing writes and deletions below a folder, by an audit hook, so that the code under test is unchanged.

Files that C++ opens (Arrow's) raise no audit event, so pyarrow.OSFile and LocalFileSystem are replaced.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from pyarrow import fs

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
BEGUN = b"ARROW1\0\0"  # the content of an Arrow file that was begun on a full disk


class KilledError(BaseException):
    """End the process as kill -9 does: no caller catches it, and nothing is written after it."""


@dataclass
class Injection:
    """Count the changes below `folder`, and let the change with number `position` fail.

    `how` is "full" (this one fails, as on a full disk), "killed" (this one and all after it: the process is dead), or
    "cut" (killed, and the file that was opened last holds half of its content).
    """

    folder: str
    position: int = -1
    how: str = "full"
    count: int = 0
    opened: list[str] = field(default_factory=list)
    arrow: int = 0  # how many of the changes were made by C++

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """Count an audit event, or fail."""
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not writes and event not in CHANGES:
            return
        path = args[0]
        if isinstance(path, int) or not os.fsdecode(path).startswith(self.folder):
            return
        number, self.count = self.count, self.count + 1
        if self.position < 0 or number < self.position or (self.how == "full" and number > self.position):
            if writes:
                self.opened.append(os.fsdecode(path))
            return
        if self.how == "full" or threading.current_thread() is not threading.main_thread():
            raise OSError(28, os.strerror(28), os.fsdecode(path))
        raise KilledError


_active: list[Injection] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _active and (event == "open" or event in CHANGES):
        _active[-1].hear(event, args)


def _opened_by_arrow(path: str) -> None:
    """Note a file that C++ is about to write; on a full disk its first bytes are left behind."""
    if not _active:
        return
    before = _active[-1].count
    try:
        _active[-1].hear("open", (path, None, os.O_WRONLY))
    except OSError:
        injection = _active.pop()
        try:
            Path(path).write_bytes(BEGUN)
        finally:
            _active.append(injection)
        raise
    finally:
        _active[-1].arrow += _active[-1].count - before


_OSFile = pa.OSFile


def _os_file(path: str, mode: str = "r", **options: Any) -> Any:
    if "w" in mode:
        _opened_by_arrow(str(path))
    return _OSFile(path, mode, **options)


class _Local(fs.LocalFileSystem):  # type: ignore[misc]
    """The local file system of Arrow, which writes in C++."""

    def create_dir(self, path: str, *, recursive: bool = True) -> None:
        if _active and not os.path.isdir(path):
            _active[-1].hear("os.mkdir", (path,))
        super().create_dir(path, recursive=recursive)

    def open_output_stream(self, path: str, *args: Any, **options: Any) -> Any:
        _opened_by_arrow(str(path))
        return super().open_output_stream(path, *args, **options)


_installed: list[bool] = []


@contextmanager
def injected(folder: str, position: int = -1, how: str = "full") -> Iterator[Injection]:
    """Make changes below a folder fail inside the context; an audit hook cannot be removed, and does nothing afterwards."""
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    injection = Injection(str(folder), position, how)
    _active.append(injection)
    try:
        with patch.object(pa, "OSFile", _os_file), patch.object(fs, "LocalFileSystem", _Local):
            yield injection
    finally:
        _active.remove(injection)
        if how == "cut" and injection.opened and os.path.isfile(injection.opened[-1]):
            os.truncate(injection.opened[-1], os.path.getsize(injection.opened[-1]) // 2)
