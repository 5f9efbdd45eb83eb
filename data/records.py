"""Convert frozen dataclasses to JSON and back, with the types checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

Record = TypeVar("Record")
Json = dict[str, Any]  # a JSON object


class DamagedRecordError(Exception):
    """A file does not hold the expected record; the message names the field."""


def to_json(record: Any) -> dict[str, Any]:
    """Return a dataclass as JSON: dictionaries and lists of plain values."""
    return {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(record)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def from_json(kind: type[Record], content: Any) -> Record:
    """Return a record of this class; unknown fields are ignored.

    Raises DamagedRecordError where a field is missing or has another type.
    """
    from pydantic import ValidationError

    try:
        record: Record = _adapter(kind).validate_python(content)  # type: ignore[arg-type]
        return record
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(each) for each in first["loc"]) or "content"
        raise DamagedRecordError(f"{location}: {first['msg'].lower()}, found {_shorten(first['input'])}") from None


@cache
def _adapter(kind: type[Any]) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _shorten(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a section with {', '.join(map(str, list(value)[:5]))}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
