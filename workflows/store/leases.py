"""Leases: if two processes need the same epoch, the second waits instead of training it too.

A lease is a file that exactly one process can create (see Storage.exclusive). Its owner renews it while it lives. A
waiting process watches the content of the file: on the machine of a dead owner it takes over at once, elsewhere after
SILENCE_S without a renewal. Clocks of two machines are not compared. A lease saves work and is not a lock: an owner that
was suspended for longer than SILENCE_S may continue beside another one. Then an epoch is trained twice, and the first
commit stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from workflows.store.storage import Storage

RENEW_S = 2.0
SILENCE_S = 20.0  # an owner that is silent for longer counts as dead
WAIT_LIMIT_S = 24 * 3600.0  # a waiting process then continues without the lease
POLL_S, POLL_REMOTE_S = 0.03, 0.3


class Lease:
    """A lease that this process owns; a thread renews it until it is released."""

    def __init__(self, storage: Storage, path: str, content: bytes):
        self.storage, self.path, self.content = storage, path, content
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        beat = 0
        while not self._over.wait(RENEW_S):
            with contextlib.suppress(OSError):
                if not self._is_mine():
                    return  # another process has taken it over
                beat += 1
                self.storage.write(self.path, _content(beat, self.content))

    def _is_mine(self) -> bool:
        return _id(self.storage.read(self.path)) == _id(self.content)

    def release(self) -> None:
        """Release the lease, unless another process has taken it over."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self._is_mine():
                self.storage.remove(self.path)


class Leases:
    """The leases of a store. If nothing can be created exclusively, every lease is granted.

    `run` is an id of the run whose worker group this process belongs to, if any: only one group of a run works at a time,
    so a lease of another process of the same run belongs to lost workers, and is taken over at once.
    """

    def __init__(self, storage: Storage):
        self.storage = storage
        self.run = ""
        self.poll_seconds = POLL_S if storage.local else POLL_REMOTE_S
        self._seen: dict[str, _Owner] = {}

    def try_acquire(self, name: str) -> Lease | None:
        """Return the lease if it is free or its owner is dead; None if another process has it."""
        path, content = f"leases/{name}", _content(0, run=self.run)
        owner = self._seen.setdefault(name, _Owner())
        if self.storage.create_file(path, content):
            del self._seen[name]
            return Lease(self.storage, path, content)
        with contextlib.suppress(FileNotFoundError):
            words = self.storage.read(path)
            if (owner.is_dead(words) or self._is_left_behind(words)) and self.storage.take_over(path, words, content):
                del self._seen[name]
                return Lease(self.storage, path, content)
        return None

    def _is_left_behind(self, words: bytes) -> bool:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return bool(self.run) and json.loads(words)["run"] == self.run
        return False

    @contextlib.contextmanager
    def hold(self, name: str, is_there: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Run the body as the only owner of `name`, or without the lease as soon as its result exists."""
        lease = self._wait(name, is_there) if self.storage.exclusive else None
        try:
            yield
        finally:
            if lease is not None:
                lease.release()

    def _wait(self, name: str, is_there: Callable[[], bool]) -> Lease | None:
        started = time.monotonic()
        while not is_there():
            lease = self.try_acquire(name)
            if lease is not None:
                if not is_there():  # the result may have appeared just before its lease ended
                    return lease
                lease.release()
                break
            if time.monotonic() - started > WAIT_LIMIT_S:
                break
            time.sleep(self.poll_seconds)
        return None


def _content(beat: int, previous: bytes = b"", run: str = "") -> bytes:
    """Return the content of a lease: its owner, and how often it was renewed."""
    owner = (
        json.loads(previous) if previous else {"place": _machine(), "pid": os.getpid(), "id": uuid.uuid4().hex, "run": run}
    )
    return json.dumps({**owner, "beat": beat}).encode()


def _id(words: bytes) -> str:
    try:
        return str(json.loads(words)["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def _machine() -> str:
    """Return the machine and the container, in which a process number is unique."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


class _Owner:
    """The last content that a waiting process read from a lease, and when it changed."""

    def __init__(self) -> None:
        self.words, self.changed_at = b"", 0.0

    def is_dead(self, words: bytes) -> bool:
        if words != self.words:
            self.words, self.changed_at = words, time.monotonic()
        with contextlib.suppress(ValueError, KeyError, TypeError):
            owner = json.loads(words)
            if owner["place"] == _machine() and not _is_alive(int(owner["pid"])):
                return True
        return time.monotonic() - self.changed_at > SILENCE_S


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
