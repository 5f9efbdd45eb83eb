"""Write RECIPE.md, a table of every key from the settings: python -m workflows.recipe.reference > RECIPE.md."""

from __future__ import annotations

import sys
import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from models.tables import NameIn
from workflows.recipe.recipe import SECTIONS, EntryKeys

INTRODUCTION = """# The recipe, key by key

A recipe is a TOML file. Besides the sections below it has `name` (of the run, default `"relay"`), `seed` (default `0`) and
`order`: `"given"` (default, the order of the [[datasets]] entries) or `"suggested"` (by the distances between the datasets'
train samples, as `inspect` shows; its first dataset is then the primary one, each dataset keeps its epochs, and a list of
rates is applied by position). `--set SECTION.KEY=VALUE` overrides a key on the command line, `--set datasets.NAME.KEY=VALUE`
a key of one dataset. `lstm-relay schema` prints the JSON schema for editors.
"""
TITLES = {
    "data": "[data]: defaults for every dataset; a [[datasets]] entry may override any of them",
    "datasets": "[[datasets]]: in training order, unless `order` says otherwise",
    "model": "[model]",
    "training": "[training]",
    "retention": "[retention]",
    "compute": "[compute]",
    "logging": "[logging]: where the numbers of a run go",
    "search": "[search]: what `search` tries, ignored by `train`; a space is [choices] or {low, high, step}",
}


def reference() -> str:
    """Return the reference as Markdown."""
    sections: dict[str, type[BaseModel]] = {"data": SECTIONS["data"], "datasets": EntryKeys, **SECTIONS}
    parts = [INTRODUCTION]
    for name, model in sections.items():
        rows = [_row(key, field) for key, field in model.model_fields.items()]
        title = TITLES.get(name, f"[{name}]")
        parts.append("\n".join([f"## {title}\n", "| key | value | default | |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _row(key: str, field: FieldInfo) -> str:
    cells = [f"`{key}`", _kind_of(field), _default(field), field.description or ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _kind_of(field: FieldInfo) -> str:
    """Return the type of a field in words: the names of its table, if it has one."""
    tables = [each.table for each in field.metadata if isinstance(each, NameIn)]
    return ", ".join(f"`{_toml(name)}`" for name in tables[0]) if tables else _kind(field.annotation)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "" if field.default is None else f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _kind(annotation: Any) -> str:
    """Return a type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(each) for each in arguments if each is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{_toml(each)}`" for each in arguments)
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"tables, each a {_kind(arguments[1])}"
    if annotation is Any:
        return "choices `[1, 2, 4]`, or a range `{low = 0.3, high = 1.0, step = 0.1}`"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"table of {', '.join(annotation.model_fields)}"
    words = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    return words.get(typing.cast(Any, annotation), str(annotation))


if __name__ == "__main__":
    sys.stdout.write(reference())
