"""Defaults that decide numbers and have changed: stored recipes name them, older ones get those of their time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

# The defaults of recipes stored before they named these keys.
BEFORE: dict[str, dict[str, Any]] = {
    "model": {"head": "shared", "classes": "all"},
    "training": {"handover": "last"},
    "retention": {"share": 0.4, "memory": 2000},
}


def named(document: Mapping[str, Any], sections: Mapping[str, BaseModel]) -> dict[str, Any]:
    """Return the document with today's defaults for these keys written out."""
    values = {section: sections[section].model_dump(mode="json", exclude_none=True) for section in BEFORE}
    resolved = {
        **{
            (section, key): values[section][key]
            for section, keys in BEFORE.items()
            for key in keys
            if key in values[section]
        },
        ("model", "head"): "dataset" if sections["model"].dataset_heads else "shared",  # type: ignore[attr-defined]
        ("training", "handover"): sections["training"].hands_over,  # type: ignore[attr-defined]
    }
    return _filled(document, resolved)


def of_their_time(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored document with the defaults of its time; one that names them is unchanged."""
    model = document.get("model", {})
    if "classes" in model:
        return dict(document)
    if "head" in model:  # stored when all of these keys but `classes` were named
        return _filled(document, {("model", "classes"): BEFORE["model"]["classes"]})
    return _filled(document, {(section, key): value for section, keys in BEFORE.items() for key, value in keys.items()})


def _filled(document: Mapping[str, Any], values: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    found = copy.deepcopy(dict(document))
    for (section, key), value in values.items():
        found.setdefault(section, {}).setdefault(key, value)
    return found
