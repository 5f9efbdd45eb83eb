"""Leases: of two processes that want the same epoch, the second waits instead of training it too.

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
SILENCE_S = 20.0  # an owner silent for so long is dead, or its machine is
WAIT_LIMIT_S = 24 * 3600.0  # then a waiting process continues, whatever the owner does
POLL_S, POLL_REMOTE_S = 0.03, 0.3


class Lease:
    """A lease that this process has, renewed by a thread until it is released."""

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
                self.storage.write(self.path, _words(beat, self.content))

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
        """Return the lease if it is free or its owner is dead; None: another process has it."""
        path, content = f"leases/{name}", _words(0, run=self.run)
        owner = self._seen.setdefault(name, _Owner())
        if self.storage.create_file(path, content):
            del self._seen[name]
            return Lease(self.storage, path, content)
        with contextlib.suppress(FileNotFoundError):
            words = self.storage.read(path)
            if (owner.is_dead(words) or self._left_behind(words)) and self.storage.take_over(path, words, content):
                del self._seen[name]
                return Lease(self.storage, path, content)
        return None

    def _left_behind(self, words: bytes) -> bool:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return bool(self.run) and json.loads(words)["run"] == self.run
        return False

    @contextlib.contextmanager
    def hold(self, name: str, is_there: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Run the body as the only owner of `name`, or without the lease as soon as its result exists."""
        lease = self._wait_for(name, is_there) if self.storage.exclusive else None
        try:
            yield
        finally:
            if lease is not None:
                lease.release()

    def _wait_for(self, name: str, is_there: Callable[[], bool]) -> Lease | None:
        started = time.monotonic()
        while not is_there():
            lease = self.try_acquire(name)
            if lease is not None:
                if not is_there():  # it may have been made just before its lease ended
                    return lease
                lease.release()
                break
            if time.monotonic() - started > WAIT_LIMIT_S:
                break
            time.sleep(self.poll_seconds)
        return None


def _words(beat: int, before: bytes = b"", run: str = "") -> bytes:
    """Return the content of a lease: its owner, and how often it was renewed."""
    told = json.loads(before) if before else {"place": _place(), "pid": os.getpid(), "id": uuid.uuid4().hex, "run": run}
    return json.dumps({**told, "beat": beat}).encode()


def _id(words: bytes) -> str:
    try:
        return str(json.loads(words)["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def _place() -> str:
    """Return where a process number identifies this process: the machine, and its container."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


class _Owner:
    """What a waiting process has seen of the owner of a lease."""

    def __init__(self) -> None:
        self.words, self.changed_at = b"", 0.0

    def is_dead(self, words: bytes) -> bool:
        if words != self.words:
            self.words, self.changed_at = words, time.monotonic()
        with contextlib.suppress(ValueError, KeyError, TypeError):
            owner = json.loads(words)
            if owner["place"] == _place() and not _lives(int(owner["pid"])):
                return True
        return time.monotonic() - self.changed_at > SILENCE_S


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
