"""Set a value in a recipe's document by its dotted name, for --set and searches."""

from __future__ import annotations

import tomllib
from typing import Any

from data.errors import InputError


def override(document: dict[str, Any], text: str) -> None:
    """Apply one --set KEY=VALUE."""
    key, equals, value_text = text.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise InputError(f"--set {text}: write it as KEY=VALUE, for example training.decay_rate=0.7")
    try:
        value = tomllib.loads(f"value = {value_text}")["value"]
    except tomllib.TOMLDecodeError:
        value = value_text.strip()  # a plain word is text
    put(document, key, value, f"--set {text}")


def put(document: dict[str, Any], key: str, value: Any, label: str) -> None:
    """Set a key by its dotted name: SECTION.KEY, or datasets.NAME.KEY, where NAME may contain dots."""
    path = [part.strip() for part in key.split(".")]
    table: Any = document
    for depth, part in enumerate(path[:-1]):
        if part == "datasets" and depth == 0:
            entries = document.get("datasets", [])
            entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
            listed = {str(entry.get("name")): entry for entry in entries}
            dataset = ".".join(path[1:-1])
            if dataset not in listed:
                names = ", ".join(str(name) for name in listed)
                raise InputError(f"{label}: there is no dataset {dataset!r}: the recipe has {names}")
            table = listed[dataset]
            break
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError(f"{label}: {part!r} is not a section: write it as SECTION.KEY=VALUE")
    table[path[-1]] = value
