"""Let a setting take the names of a table as values: a new entry in the table is a new value of the setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema


class NameIn:
    """Annotation of a `str` setting: one of the names in a table, which is read at each check."""

    def __init__(self, table: Mapping[str, object]):
        self.table = table

    def check(self, name: str) -> str:
        """Return the name; raises pydantic's literal_error if the table does not have it."""
        if name not in self.table:
            *most, last = (repr(each) for each in self.table)
            raise PydanticCustomError(
                "literal_error", "Input should be {expected}", {"expected": f"{', '.join(most)} or {last}"}
            )
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Check the name after pydantic has checked that it is text."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """List the names in the JSON schema."""
        return {**handler(schema), "enum": list(self.table)}


def described(table: Mapping[str, Any]) -> str:
    """Return each name of a table with its entry's description, for the recipe's reference."""
    return "; ".join(f"{name}: {entry.description}" for name, entry in table.items() if entry.description)
