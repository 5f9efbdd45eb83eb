"""Check before preparation that a storage can be used: list, write, read, create once, delete."""

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
        """Return the error of the step with its remedy."""
        if re.search(r"NO_SUCH_BUCKET|NoSuchBucket|bucket does not exist", self.error, re.IGNORECASE):
            return f"the bucket of {address} does not exist: create it, or name another"
        if re.search(r"INVALID_ACCESS_KEY|SIGNATURE|credential|ExpiredToken", self.error, re.IGNORECASE):
            return f"{address}: the credentials are not accepted: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or the role"
        if self.away:
            return (
                f"{address} does not answer: check the address, AWS_ENDPOINT_URL and the network ({_first_line(self.error)})"
            )
        return f"{address}: the right to {self.name} is missing: grant {GRANTS[self.name]} ({_first_line(self.error)})"


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:200]


def probe(storage: Storage) -> list[Step]:
    """Run each step once, in order, up to the first error. The written file is deleted."""
    path, steps = f".probe-{uuid.uuid4().hex[:8]}", list[Step]()
    tries: dict[str, Callable[[], Any]] = {
        "list": lambda: storage.names(""),
        "write": lambda: storage.write(path, CONTENT),
        "read": lambda: _check_content(storage.read(path)),
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


def _check_content(content: bytes) -> None:
    if content != CONTENT:
        raise OSError("the content that was read differs from what was written")


def check_storage(storage: Storage, say: Callable[[str], None] = lambda words: None) -> None:
    """Probe a storage, waiting up to a minute for an answer; raises InputError with the permissions to grant."""
    if storage.local:
        return  # creating a folder reports its errors
    started, last_report = time.monotonic(), 0.0
    while True:
        with telling_waits(storage, say):
            last = probe(storage)[-1]
        waited = time.monotonic() - started
        if not last.error:
            return
        if last.away and (not last_report or time.monotonic() - last_report > TELL_S):
            last_report = time.monotonic()
            say(f"waiting for the storage {storage.address} since {waited:.0f} s: {_first_line(last.error)}")
        if not last.away or waited > AWAY_LIMIT_S:
            raise InputError(f"--storage: {last.advice(storage.address)}")
        time.sleep(RETRY_S)


def speed_of(storage: Storage, size: int = 8 << 20) -> tuple[float, float]:
    """Return the speeds in bytes per second at which this machine writes and reads an object of `size` bytes."""
    path, content = f".probe-{uuid.uuid4().hex[:8]}", b"\0" * size
    started = time.monotonic()
    storage.write(path, content)
    written = time.monotonic()
    storage.read(path)
    done = time.monotonic()
    storage.remove(path)
    return size / max(written - started, 1e-9), size / max(done - written, 1e-9)


SLOW = 5_000_000.0  # bytes per second; a fit reads faster than a slower storage


def rights_and_speed(address: str) -> dict[str, str]:
    """Return the doctor's line on a storage, measured from this machine: status, observation and remedy."""
    try:
        storage = open_storage(address)
        last = probe(storage)[-1]
        if last.error:
            return {"status": "fault", "found": f"{last.name} failed", "todo": last.advice(address)}
        write, read = speed_of(storage)
        once = "" if storage.exclusive else "; two trials may train the same epoch, as it cannot create once"
    except (OSError, InputError) as error:
        return {"status": "fault", "found": _first_line(str(error)), "todo": "check the address and the credentials"}
    summary = f"list, write, read, delete; writes {write / 1e6:.0f} MB/s, reads {read / 1e6:.0f} MB/s{once}"
    if min(write, read) < SLOW:
        return {"status": "warning", "found": summary, "todo": "put the storage into the region of the cluster"}
    return {"status": "ok", "found": summary, "todo": ""}
