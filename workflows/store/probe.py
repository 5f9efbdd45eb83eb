"""Check that a storage can be used before anything is prepared: list, write, read, create once, delete."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cluster.telling import TELL_S
from data.errors import InputError
from workflows.store.storage import Storage, open_storage
from workflows.store.telling import telling_waits

CONTENT = b"probe"
AWAY_LIMIT_S = 60.0  # how long to wait for a storage that does not answer
RETRY_S = 3.0
GRANTS = {  # permissions of each step, as S3 names them; other stores have similar ones
    "list": "s3:ListBucket on the bucket",
    "write": "s3:PutObject on BUCKET/*",
    "read": "s3:GetObject on BUCKET/*",
    "create once": "s3:PutObject on BUCKET/*",
    "delete": "s3:DeleteObject on BUCKET/*",
}


@dataclass(frozen=True)
class Step:
    """One step of a probe: its duration and its error."""

    name: str
    seconds: float
    error: str = ""

    @property
    def away(self) -> bool:
        """Return whether the storage did not answer at all, so that waiting may help."""
        return bool(self.error) and not re.search(
            r"ACCESS_DENIED|Access ?Denied|Forbidden|HTTP status 40[0-9]|NO_SUCH_BUCKET|NoSuchBucket|INVALID_ACCESS_KEY|"
            r"SIGNATURE|RESOURCE_NOT_FOUND|No such file|Permission denied|not enough|credential",
            self.error,
            re.IGNORECASE,
        )

    def advice(self, address: str) -> str:
        """Return what is wrong and what to do."""
        if re.search(r"NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist", self.error, re.IGNORECASE):
            return f"the bucket of {address} does not exist: create it, or name another"
        if re.search(r"INVALID_ACCESS_KEY|SIGNATURE|credential|ExpiredToken", self.error, re.IGNORECASE):
            return f"{address}: the credentials are not accepted: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or the role"
        if self.away:
            return f"{address} does not answer: check the address, AWS_ENDPOINT_URL and the network ({_first(self.error)})"
        return f"{address}: the right to {self.name} is missing: grant {GRANTS[self.name]} ({_first(self.error)})"


def _first(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:200]


def probe(storage: Storage) -> list[Step]:
    """Run each step once, in order, up to the first error. What is written is deleted."""
    path, steps = f".probe-{uuid.uuid4().hex[:8]}", list[Step]()
    tries: dict[str, Callable[[], Any]] = {
        "list": lambda: storage.names(""),
        "write": lambda: storage.write(path, CONTENT),
        "read": lambda: _same(storage.read(path)),
        "create once": lambda: storage.exclusive,  # without it epochs may be trained twice, but nothing breaks
        "delete": lambda: storage.remove(path),
    }
    for name, attempt in tries.items():
        started = time.monotonic()
        try:
            attempt()
        except (OSError, ValueError) as error:
            steps.append(Step(name, time.monotonic() - started, str(error) or type(error).__name__))
            break
        steps.append(Step(name, time.monotonic() - started))
    return steps


def _same(content: bytes) -> None:
    if content != CONTENT:
        raise OSError("what was read is not what was written")


def check_storage(storage: Storage, say: Callable[[str], None] = lambda words: None) -> None:
    """Probe a storage; raises InputError with the permissions to grant. Waits for one that does not answer, for a minute."""
    if storage.local:
        return  # a folder reports its errors when it is made
    started, told = time.monotonic(), 0.0
    while True:
        with telling_waits(storage, say):
            last = probe(storage)[-1]
        waited = time.monotonic() - started
        if not last.error:
            return
        if last.away and (not told or time.monotonic() - told > TELL_S):
            told = time.monotonic()
            say(f"waiting for the storage {storage.address} since {waited:.0f} s: {_first(last.error)}")
        if not last.away or waited > AWAY_LIMIT_S:
            raise InputError(f"--storage: {last.advice(storage.address)}")
        time.sleep(RETRY_S)


def speed_of(storage: Storage, size: int = 8 << 20) -> tuple[float, float]:
    """Return the bytes a second at which an object of this size is written and read here; it is deleted afterwards."""
    path, content = f".probe-{uuid.uuid4().hex[:8]}", b"\0" * size
    started = time.monotonic()
    storage.write(path, content)
    written = time.monotonic()
    storage.read(path)
    done = time.monotonic()
    storage.remove(path)
    return size / max(written - started, 1e-9), size / max(done - written, 1e-9)


SLOW = 5_000_000.0  # bytes a second: below it the storage is slower than a fit reads


def rights_and_speed(address: str) -> dict[str, str]:
    """Return what the doctor says of a storage as this machine sees it: status, what was found, what to do."""
    try:
        storage = open_storage(address)
        last = probe(storage)[-1]
        if last.error:
            return {"status": "fault", "found": f"{last.name} failed", "todo": last.advice(address)}
        write, read = speed_of(storage)
        once = "" if storage.exclusive else "; two trials may train the same epoch, as it cannot create once"
    except (OSError, InputError) as error:
        return {"status": "fault", "found": _first(str(error)), "todo": "check the address and the credentials"}
    found = f"list, write, read, delete; writes {write / 1e6:.0f} MB/s, reads {read / 1e6:.0f} MB/s{once}"
    if min(write, read) < SLOW:
        return {"status": "warning", "found": found, "todo": "put the storage into the region of the cluster"}
    return {"status": "ok", "found": found, "todo": ""}
