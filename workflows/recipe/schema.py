"""The JSON schema of a recipe, for editors: completion, descriptions and errors while typing."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from workflows.recipe.recipe import ORDERS, SECTIONS, EntryKeys

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """Return the schema of the whole document; a [[datasets]] entry takes its own keys and every key of [data]."""
    models: list[type[BaseModel]] = [*SECTIONS.values(), EntryKeys]
    _, made = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    definitions = made["$defs"]
    entry, data = definitions.pop(EntryKeys.__name__), definitions[SECTIONS["data"].__name__]
    # No key of [data] is required in an entry, which overrides [data], nor in [data], because every entry may have the key.
    data.pop("required", None)
    definitions["Dataset"] = {**entry, "properties": {**data["properties"], **entry["properties"]}, "title": "Dataset"}
    sections = {name: {"$ref": f"#/$defs/{model.__name__}"} for name, model in SECTIONS.items()}
    return {
        "$schema": DRAFT,
        "title": "lstm-relay recipe",
        "type": "object",
        "additionalProperties": False,
        "required": ["datasets"],
        "properties": {
            "name": {"type": "string", "default": "relay", "description": "name of the run"},
            "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "seed of weights and sample order"},
            "order": {"enum": list(ORDERS), "default": ORDERS[0], "description": "training order of the datasets"},
            "datasets": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Dataset"}},
            **sections,
        },
        "$defs": definitions,
    }
