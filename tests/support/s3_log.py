"""The requests to the S3 test server, in order."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

LOG = "S3_TEST_LOG"  # the environment's name of the file that the server writes


@dataclass(frozen=True)
class Request:
    """One request, with the bytes of its body and of the answer."""

    method: str
    path: str
    received: int
    sent: int


def requests() -> list[Request]:
    """Return all requests so far, in the order of their answers."""
    return [Request(**json.loads(line)) for line in Path(os.environ[LOG]).read_text().splitlines()]
