"""Who trains an epoch now: so that of two trials that want the same one, the second waits for it instead of training it.

A lease is a file that exactly one process can make; its owner renews it while it lives. Nothing but time depends on it:
where a lease is lost an epoch is trained twice, to the same numbers, and the first that is committed stands.
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
from pathlib import Path

from workflows.store.storage import Storage

RENEW_S = 2.0
SILENCE_S = 20.0  # an owner that has not renewed its lease for so long is dead, or its machine is
WAIT_LIMIT_S = 3600.0  # then an epoch is trained here too, whatever its owner says
POLL_S = 0.03


class Leases:
    """The leases of a store. In an object store no file can be made exclusively: there nothing is held or waited for."""

    def __init__(self, storage: Storage):
        self.folder = Path(storage.address) / "leases" if storage.local else None
        self.waited_seconds = 0.0

    @contextlib.contextmanager
    def hold(self, name: str, is_there: Callable[[], bool]) -> Iterator[None]:
        """Run the body as the only one that holds `name`, or without it as soon as what it would make is there."""
        lease = None if self.folder is None else self._acquire(self.folder / name, is_there)
        if lease is None:
            yield
            return
        over = threading.Event()
        renewing = threading.Thread(target=_renew, args=(lease, over), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
            lease.unlink(missing_ok=True)

    def _acquire(self, path: Path, is_there: Callable[[], bool]) -> Path | None:
        if is_there():
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        started, owner = time.monotonic(), _Owner()
        try:
            while True:
                if _make(path):
                    if not is_there():  # it may have been committed just before its lease ended
                        return path
                    path.unlink(missing_ok=True)
                if is_there() or time.monotonic() - started > WAIT_LIMIT_S:
                    return None
                if owner.is_dead(path):
                    _take_away(path, owner.words)
                else:
                    time.sleep(POLL_S)
        finally:
            self.waited_seconds += time.monotonic() - started


def _make(path: Path) -> bool:
    """Make the lease with its owner in it, unless there is one: a link is made with its content or not at all."""
    scratch = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    scratch.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}))
    try:
        os.link(scratch, path)
    except FileExistsError:
        return False
    finally:
        scratch.unlink(missing_ok=True)
    return True


def _renew(path: Path, over: threading.Event) -> None:
    while not over.wait(RENEW_S):
        with contextlib.suppress(OSError):
            os.utime(path)


class _Owner:
    """What a waiting process has seen of the owner of a lease. Clocks of two machines are not compared."""

    def __init__(self) -> None:
        self.words, self.renewed, self.changed_at = "", 0.0, 0.0

    def is_dead(self, path: Path) -> bool:
        try:
            words, renewed = path.read_text(), path.stat().st_mtime
        except OSError:
            return False  # it has just ended
        if (words, renewed) != (self.words, self.renewed):
            self.words, self.renewed, self.changed_at = words, renewed, time.monotonic()
        with contextlib.suppress(ValueError, KeyError):
            owner = json.loads(words)
            if owner["host"] == socket.gethostname() and not _lives(int(owner["pid"])):
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


def _take_away(path: Path, words: str) -> None:
    """Remove the lease of a dead owner; where another process was faster, the new owner's is put back."""
    taken = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(OSError):
        path.rename(taken)
        if taken.read_text() != words:
            os.link(taken, path)
    taken.unlink(missing_ok=True)
