"""Defaults that affect results and have changed: new stored recipes spell them out, older ones get their old defaults."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from workflows.recipe.settings import REPLAY_DECAY_RATE

# Old defaults of keys that older stored recipes do not contain.
BEFORE: dict[str, dict[str, Any]] = {
    "model": {"head": "shared", "classes": "all"},
    "training": {"handover": "last", "decay_rate": 0.8},
    "retention": {"share": 0.4, "memory": 2000},
}


def with_default_rate(retention: Any, training: Any) -> Any:
    """Return the settings of [training]; without decay_rate it becomes the default of the retention method."""
    if not retention.replays or "decay_rate" in training.model_fields_set:
        return training
    return training.model_copy(update={"decay_rate": REPLAY_DECAY_RATE})


def with_defaults(document: Mapping[str, Any], sections: Mapping[str, BaseModel]) -> dict[str, Any]:
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


def with_old_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored document with the defaults of its time; keys that it contains are unchanged."""
    model, lacks = document.get("model", {}), {("training", "decay_rate")}  # the key that was added last
    if "classes" not in model:
        lacks |= {("model", "classes")}
        if "head" not in model:
            lacks |= {(section, key) for section, keys in BEFORE.items() for key in keys}
    return _filled(document, {(section, key): BEFORE[section][key] for section, key in sorted(lacks)})


def _filled(document: Mapping[str, Any], values: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    filled = copy.deepcopy(dict(document))
    for (section, key), value in values.items():
        filled.setdefault(section, {}).setdefault(key, value)
    return filled
