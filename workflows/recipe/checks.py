"""Check the values of a section; messages name the key, the value and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from data.nearest import nearest

Settings = TypeVar("Settings", bound=BaseModel)
FEW = 12  # names in a message


def validate(
    model: type[Settings], values: Any, label: str, problems: list[str], also_known: Sequence[str] = ()
) -> Settings | None:
    """Return the settings, or None with the errors added to `problems`."""
    errors = errors_of(model, values, label, also_known)
    problems += [message for _, message in errors]
    return None if errors else model.model_validate(values)


def errors_of(model: type[BaseModel], values: Any, label: str, also_known: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return (key, message) for each problem of a section; the key is "" if values contradict each other."""
    if not isinstance(values, dict):
        return [("", f"{label} = {values!r}: write it as a table of keys")]
    try:
        model.model_validate(values)
    except ValidationError as error:
        messages_of: dict[str, list[str]] = {}
        for each in error.errors():
            path = [str(part) for part in each["loc"]]
            key, kind = path[0] if path else "", each["type"]
            if kind == "extra_forbidden" and len(path) == 1:
                message = f"{label}: {unknown(key, [*model.model_fields, *also_known])}"
            elif kind == "missing" and len(path) == 1:
                message = f"{label}: the key {key!r} is missing: {_describe(model, key)}"
            elif kind == "value_error" and not path:
                message = f"{label}: {each['ctx']['error']}"
            else:  # a value of several allowed kinds has a message for each
                message = str(each["ctx"]["error"]) if kind == "value_error" else _lower(each["msg"])
            messages_of.setdefault(key, []).append(message)
        return [(key, _sentence(model, values, label, key, messages)) for key, messages in messages_of.items()]
    return []


def _sentence(model: type[BaseModel], values: dict[str, Any], label: str, key: str, messages: list[str]) -> str:
    if messages[0].startswith(label):
        return "; ".join(messages)
    reasons = " or ".join(dict.fromkeys(messages))
    return f"{label}.{key} = {values.get(key)!r}: {reasons} ({_describe(model, key)})"


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _describe(model: type[BaseModel], key: str) -> str:
    description = model.model_fields[key].description if key in model.model_fields else None
    return f"{key}: {description}" if description else f"write {key}"


def unknown(key: str, known: Sequence[str]) -> str:
    """Return the message about an unknown key, with the nearest known one."""
    hint = suggest(key, known, f"the keys are {', '.join(known)}")
    return f"the key {key!r} is unknown: {hint}"


def suggest(name: str, known: Sequence[str], otherwise: str = "") -> str:
    """Return the nearest known name as a question; if none is near, `otherwise`, or the first known names."""
    near = nearest(name, known, alike=0.5)
    if near is not None:
        return f"did you mean {near!r}?"
    few = f"write one of {', '.join(known[:FEW])}{' ...' if len(known) > FEW else ''}" if known else "none exists yet"
    return otherwise or few
