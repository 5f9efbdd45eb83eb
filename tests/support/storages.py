"""Storages that misbehave on purpose: slow at random, paused at a chosen call, failing at the n-th write."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyarrow import fs

from workflows.store.local_storage import LocalStorage
from workflows.store.object_storage import ObjectStorage
from workflows.store.storage import Storage, open_storage

CALLS = ("read", "write", "create_file", "take_over", "publish", "names", "size", "remove", "withdraw", "put_back")


class FakeWriter:
    """Conditional writes to local files, as S3 does them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def create(self, path: str, content: bytes) -> bool:
        with self.lock:
            if Path(path).exists():
                return False
            return self._put(path, content)

    def take_over(self, path: str, expected: bytes, content: bytes) -> bool:
        with self.lock:
            if not Path(path).exists() or Path(path).read_bytes() != expected:
                return False
            return self._put(path, content)

    def _put(self, path: str, content: bytes) -> bool:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
        return True

    def read(self, path: str) -> bytes | None:
        return Path(path).read_bytes() if Path(path).is_file() else None

    def delete(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    def keeps_conditions(self, prefix: str) -> bool:  # noqa: ARG002
        return True


class LocalObjects(ObjectStorage):
    """The rules of an object store (no rename, conditional writes) on local files, in this process."""

    def __init__(self, folder: Path):
        self.address, self.prefix = str(folder), str(folder)
        self.filesystem = fs.LocalFileSystem()
        self.writer = FakeWriter()  # type: ignore[assignment]

    def write(self, path: str, content: bytes) -> None:
        Path(self._inner(path)).parent.mkdir(parents=True, exist_ok=True)
        super().write(path, content)

    def withdraw(self, folder: str, to: str, names: Any) -> None:
        Path(self._inner(to)).mkdir(parents=True, exist_ok=True)
        super().withdraw(folder, to, names)


def around_calls(storage: Storage, around: Callable[[str, Callable[[], Any]], Any]) -> Storage:
    """Pass every call of a storage through `around(name, call)`, including calls between its own methods."""
    for name in CALLS:
        method = getattr(storage, name)

        def call(*args: Any, name: str = name, method: Callable[..., Any] = method) -> Any:
            return around(name, lambda: method(*args))

        setattr(storage, name, call)
    return storage


def slow_storage(address: str, seed: int, longest_seconds: float = 0.01) -> Storage:
    """Return a storage that sleeps for a random time before and after each call."""
    chance = random.Random(seed)

    def around(_: str, call: Callable[[], Any]) -> Any:
        time.sleep(longest_seconds * chance.random() ** 4)
        try:
            return call()
        finally:
            time.sleep(longest_seconds * chance.random() ** 4)

    return around_calls(open_storage(address), around)


class Interrupted:
    """Count the calls of a storage, and call `do` before the call with number `call_number`."""

    def __init__(self, storage: Storage, call_number: int | None = None, do: Callable[[], Any] = lambda: None):
        self.num_calls, self.call_number, self.do = 0, call_number, do
        self.storage = around_calls(storage, self._around)

    def _around(self, _: str, call: Callable[[], Any]) -> Any:
        if self.num_calls == self.call_number:
            self.num_calls += 1
            self.do()
        else:
            self.num_calls += 1
        return call()


class StoppedError(BaseException):
    """End the process as kill -9 does: no caller catches it."""


def stopped_at(storage: Storage, call_number: int, how: str) -> Interrupted:
    """Return a storage that fails (`full`) or ends its process (`killed`) at the call with number `call_number`."""

    def stop() -> None:
        if how == "full":
            raise OSError(28, os.strerror(28))
        raise StoppedError

    return Interrupted(storage, call_number, stop)


def local(folder: Path) -> Storage:
    """Open a folder as a storage."""
    return LocalStorage(str(folder))
