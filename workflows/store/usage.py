"""Register the commands that use a store: `clean` removes nothing while there is one, and none starts during a `clean`.

A command takes the lease `using-...` before it reads anything, then waits for the end of a running `clean`. `clean` takes
the lease `clean`, then looks for commands. In any order, one of the two sees the other.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from data.errors import InputError
from workflows.store.leases import SILENCE_S, Lease, Leases
from workflows.store.storage import Storage

CLEAN, USING = "clean", "using-"


class Usage:
    """The registration of one command.

    `begin` does not create a store that does not exist; it is called again with `make` before the first file is written.
    """

    def __init__(self, leases: Leases, what: str):
        self.leases, self.what = leases, what
        self.lease: Lease | None = None
        self.new = not leases.storage.names("")  # the store did not exist before

    def begin(self, make: bool = False) -> None:
        """Register that this command uses the store, and wait for the end of a running `clean`."""
        storage = self.leases.storage
        if self.lease is not None or not (make or storage.names("")) or not storage.exclusive:
            return
        if not storage.names(""):
            storage.create()
        try:
            self.lease = self.leases.try_acquire(f"{USING}{self.what}-{uuid.uuid4().hex[:8]}")
        except NotADirectoryError:  # without leases `clean` would remove what this command needs
            raise
        except OSError:  # a full or read-only store: the command reports it when it writes
            pass
        while storage.names("leases").count(CLEAN):
            lease = self.leases.try_acquire(CLEAN)  # of a dead process, or of one that has just ended
            if lease is not None:
                lease.release()
                break
            time.sleep(self.leases.poll_seconds)

    def __enter__(self) -> Usage:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        if self.lease is not None:
            self.lease.release()
        storage = self.leases.storage
        if self.new and storage.local and storage.names("") == ["leases"] and not storage.names("leases"):
            with contextlib.suppress(OSError):  # fails if another command has just written something
                (Path(storage.address) / "leases").rmdir()
                Path(storage.address).rmdir()


def commands_using(leases: Leases) -> list[str]:
    """Return the names of the commands that use the store now; leases of dead processes are released."""
    storage = leases.storage
    waiting = [name for name in storage.names("leases") if name.startswith(USING)]
    until = time.monotonic() + SILENCE_S + 1
    first = {name: _content(storage, name) for name in waiting}
    alive: list[str] = []
    while waiting:
        for name in list(waiting):
            lease = leases.try_acquire(name)
            if lease is not None:
                lease.release()
                waiting.remove(name)
            elif _content(storage, name) not in (first[name], b"") or time.monotonic() > until:
                alive.append(name)  # the lease was renewed
                waiting.remove(name)
        if alive:
            break
        time.sleep(leases.poll_seconds if waiting else 0.0)
    return [name.removeprefix(USING).rpartition("-")[0] for name in alive]


@contextlib.contextmanager
def alone(storage: Storage, address: str) -> Iterator[None]:
    """Run the body while no command uses the store; raises InputError if one does, or if another `clean` is running."""
    leases = Leases(storage)
    if not storage.exclusive:
        yield
        return
    lease = leases.try_acquire(CLEAN)
    if lease is None:
        raise InputError(f"clean: another clean of {address} is under way, or was killed a moment ago: run it again later")
    try:
        using = commands_using(leases)
        if using:
            raise InputError(
                f"clean: {using[0]} uses {address} now and may need files that no run refers to yet: "
                "run clean again when it has ended"
            )
        yield
    finally:
        lease.release()


def _content(storage: Storage, name: str) -> bytes:
    try:
        return storage.read(f"leases/{name}")
    except FileNotFoundError:
        return b""
