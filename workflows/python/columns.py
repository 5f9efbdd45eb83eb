"""The roles of a frame's columns: by keyword, by the column names common to forecasting libraries, or by type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from data.errors import InputError

TIME, SERIES, TARGET, DATASET = "ds", "unique_id", "y", "dataset"  # default column names
FEW = 12


def column_keys(schema: pa.Schema, keys: Mapping[str, Any], also: Sequence[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Return the keys of [data] that follow from the columns of a frame, and the unused columns.

    `time`, `series` and `targets` default to ds, unique_id and y if the frame has them, `time` also to the only column of
    dates. `features` defaults to all other numeric columns, with the targets first if the horizon is above 0. `keys` are
    the user's keywords, which take precedence; `also` are columns that have another use. Raises InputError without targets.
    """
    names = schema.names
    derived: dict[str, Any] = {}
    dates = [field.name for field in schema if pa.types.is_timestamp(field.type) and field.name not in also]
    if keys.get("time") is None and (TIME in names or len(dates) == 1):
        derived["time"] = TIME if TIME in names else dates[0]
    if keys.get("series") is None and SERIES in names and SERIES not in also:
        derived["series"] = SERIES
    if keys.get("targets") is None:
        if TARGET not in names:
            shown = ", ".join(names[:FEW]) + (" ..." if len(names) > FEW else "")
            raise InputError(
                f'train: no column is called "y": name the columns to forecast, such as targets=["{_last(names)}"] ({shown})'
            )
        derived["targets"] = [TARGET]
    whole = {**keys, **derived}
    targets = _names(whole["targets"])
    used = [*also, *(name for key in ("time", "series", "categorical", "weight") for name in _names(whole.get(key)))]
    numbers = [field.name for field in schema if _is_number(field.type) and field.name not in (*used, *targets)]
    if keys.get("features") is None:
        autoregressive = isinstance(keys.get("horizon"), int) and keys["horizon"] > 0
        derived["features"] = [*(name for name in targets if autoregressive), *numbers]
        if not derived["features"]:
            raise InputError(f"train: the frame has no numeric column beside {', '.join(targets)}: write features=[...]")
    used += [*targets, *_names({**keys, **derived}["features"])]
    used += [name for key in ("static", "known_future") for name in _names(whole.get(key))]
    return derived, [name for name in names if name not in used]


def _names(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [str(each) for each in value]


def _is_number(kind: pa.DataType) -> bool:
    types = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(is_one(kind) for is_one in types)


def _last(names: Sequence[str]) -> str:
    return names[-1] if names else "column"
