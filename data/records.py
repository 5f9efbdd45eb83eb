"""Frozen dataclasses to JSON and back: the one place where a value is made from what a file of ours says."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

Record = TypeVar("Record")


class DamagedRecordError(Exception):
    """A file does not hold the record that it should; the message names the field."""


def to_json(record: Any) -> dict[str, Any]:
    """Return a dataclass as JSON has it: dictionaries and lists of plain values."""
    return {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(record)}


def signed(content: Mapping[str, Any]) -> bytes:
    """Return JSON with the hash of its other keys under `sha256`, so that a changed digit is noticed."""
    content = {key: value for key, value in content.items() if key != "sha256"}
    return json.dumps({**content, "sha256": _digest(content)}, indent=1).encode()


def read_signed(written: bytes, path: str) -> dict[str, Any]:
    """Return what `signed` wrote, without the hash; what an earlier version wrote has none.

    Raises DamagedRecordError where the content is not as it was written, or no JSON object.
    """
    try:
        content = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise DamagedRecordError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise DamagedRecordError(f"{path}: it holds a {type(content).__name__}, not an object")
    digest = content.pop("sha256", None)
    if digest is not None and digest != _digest(content):
        raise DamagedRecordError(f"{path} is not as it was written (its sha256 differs)")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def from_json(kind: type[Record], content: Any) -> Record:
    """Return the record of this class, with fields that it does not know left out.

    Raises DamagedRecordError where a field is missing or of another type.
    """
    from pydantic import ValidationError

    try:
        record: Record = _adapter(kind).validate_python(content)  # type: ignore[arg-type]
        return record
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"]) or "content"
        raise DamagedRecordError(f"{place}: {first['msg'].lower()}, found {_shortened(first['input'])}") from None


@cache
def _adapter(kind: type[Any]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _shortened(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a section with {', '.join(map(str, list(value)[:5]))}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
