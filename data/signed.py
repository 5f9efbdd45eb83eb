"""JSON objects that contain their own hash, so that a changed digit is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def signed(content: Mapping[str, Any], key: str = "sha256") -> bytes:
    """Return JSON with the hash of all other keys under `key`."""
    content = {name: value for name, value in content.items() if name != key}
    return json.dumps({**content, key: _digest(content)}, indent=1).encode()


def read_signed(written: bytes, key: str = "sha256", required: bool = False) -> dict[str, Any]:
    """Return the content that `signed` wrote, without the hash; it may be absent, as in earlier versions, unless `required`.

    Raises ValueError if the content has changed or is not a JSON object.
    """
    try:
        content = json.loads(written)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not an object")
    digest = content.pop(key, None)
    if (digest is not None or required) and digest != _digest(content):
        raise ValueError(f"the content has changed since it was written (its {key} differs)")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
