"""The roles of a frame's columns: by keyword, by the names that forecasting libraries share, or by type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from data.errors import InputError

TIME, SERIES, TARGET, DATASET = "ds", "unique_id", "y", "dataset"  # without a keyword
FEW = 12


def column_keys(schema: pa.Schema, keys: Mapping[str, Any], also: Sequence[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Return the keys of [data] that the columns of a frame decide, and the columns that nothing uses.

    `time`, `series` and `targets` default to ds, unique_id and y where these are there, `time` also to the only column of
    dates. `features` defaults to all other numbers, after the targets where the horizon is above 0. `keys` are the keywords,
    which stay as they are; `also` are columns that have another use. Raises InputError where the targets are not clear.
    """
    names = schema.names
    found: dict[str, Any] = {}
    dates = [field.name for field in schema if pa.types.is_timestamp(field.type) and field.name not in also]
    if keys.get("time") is None and (TIME in names or len(dates) == 1):
        found["time"] = TIME if TIME in names else dates[0]
    if keys.get("series") is None and SERIES in names and SERIES not in also:
        found["series"] = SERIES
    if keys.get("targets") is None:
        if TARGET not in names:
            shown = ", ".join(names[:FEW]) + (" ..." if len(names) > FEW else "")
            raise InputError(
                f'train: no column is called "y": name what is forecast, as targets=["{_last(names)}"] ({shown})'
            )
        found["targets"] = [TARGET]
    whole = {**keys, **found}
    targets = _names(whole["targets"])
    used = [*also, *(name for key in ("time", "series", "categorical", "weight") for name in _names(whole.get(key)))]
    numbers = [field.name for field in schema if _is_number(field.type) and field.name not in (*used, *targets)]
    if keys.get("features") is None:
        ahead = isinstance(keys.get("horizon"), int) and keys["horizon"] > 0
        found["features"] = [*(name for name in targets if ahead), *numbers]
        if not found["features"]:
            raise InputError(
                f"train: no column of numbers is left to go in beside {', '.join(targets)}: name features=[...]"
            )
    used += [*targets, *_names({**keys, **found}["features"])]
    used += [name for key in ("static", "known_future") for name in _names(whole.get(key))]
    return found, [name for name in names if name not in used]


def _names(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(each) for each in value]


def _is_number(kind: pa.DataType) -> bool:
    types = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(is_one(kind) for is_one in types)


def _last(names: Sequence[str]) -> str:
    return names[-1] if names else "column"
