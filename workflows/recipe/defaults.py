"""Defaults that decide numbers and have changed: stored recipes name them, older ones get those of their time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from workflows.recipe.settings import REPLAY_DECAY_RATE

# The defaults of recipes stored before they named these keys.
BEFORE: dict[str, dict[str, Any]] = {
    "model": {"head": "shared", "classes": "all"},
    "training": {"handover": "last", "decay_rate": 0.8},
    "retention": {"share": 0.4, "memory": 2000},
}


def at_the_rate_of(retention: Any, training: Any) -> Any:
    """Return the settings of [training] with the default decay rate of a retention method, where they name none."""
    if not retention.replays or "decay_rate" in training.model_fields_set:
        return training
    return training.model_copy(update={"decay_rate": REPLAY_DECAY_RATE})


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
    model, lacks = document.get("model", {}), {("training", "decay_rate")}  # the key that was named last
    if "classes" not in model:
        lacks |= {("model", "classes")}
        if "head" not in model:
            lacks |= {(section, key) for section, keys in BEFORE.items() for key in keys}
    return _filled(document, {(section, key): BEFORE[section][key] for section, key in sorted(lacks)})


def _filled(document: Mapping[str, Any], values: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
    found = copy.deepcopy(dict(document))
    for (section, key), value in values.items():
        found.setdefault(section, {}).setdefault(key, value)
    return found
