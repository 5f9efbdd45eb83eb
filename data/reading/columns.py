"""The columns of prepared rows: numeric features, category codes, calendar, missing flags, a weight, then targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from data.errors import InputError
from data.reading.settings import CALENDAR_PERIODS, DatasetSource, DataSettings
from data.reading.times import Times

Float32 = npt.NDArray[np.float32]
MAX_CATEGORIES = 32  # of a column, over all datasets of a run: each becomes a feature


@dataclass(frozen=True)
class Column:
    """A column of the prepared rows. Category codes index the labels of a part; -1 is missing."""

    name: str
    kind: Literal["number", "code", "calendar", "flag", "weight", "target", "class"]


def columns_of(source: DatasetSource) -> list[Column]:
    """Return the columns of the prepared rows of a dataset, in their order."""
    settings = source.settings
    return [
        *(Column(name, "number") for name in settings.features),
        *(Column(name, "code") for name in settings.categorical),
        *(Column(f"{part}_{wave}", "calendar") for part in settings.calendar for wave in ("sin", "cos")),
        *(Column(f"{name}_missing", "flag") for name in settings.features if settings.missing_flags),
        *([] if settings.weight is None else [Column(settings.weight, "weight")]),
        *(Column(name, "class" if source.classes else "target") for name in settings.targets),
    ]


def codes_of(labels: npt.NDArray[np.object_], categories: list[str]) -> Float32:
    """Return the index of each label in the categories; -1 if missing."""
    index_of = {label: index for index, label in enumerate(categories)}
    return np.fromiter((index_of.get(label, -1) for label in labels), np.float32, len(labels))


def calendar_columns(times: Times, settings: DataSettings, where: str) -> Float32:
    """Return sine and cosine of each time's position in its day, week or year: (rows, 2 per calendar part)."""
    if times.kind != "date":
        raise InputError(f"{where}: calendar needs dates in the time column, which holds numbers: leave calendar out")
    moments = times.local.astype("datetime64[us]")
    days = moments.astype("datetime64[D]")
    hour = (moments - days).astype(np.int64) / 3.6e9
    phases = {
        "hour": hour,
        "weekday": (days.astype(np.int64) + 3) % 7 + hour / 24,  # 1970-01-01 was a Thursday
        "month": moments.astype("datetime64[M]").astype(np.int64) % 12,
        "day_of_year": (days - moments.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64) + hour / 24,
    }
    waves = []
    for part in settings.calendar:
        angle = 2 * np.pi * phases[part] / CALENDAR_PERIODS[part]
        waves += [np.sin(angle), np.cos(angle)]
    return np.stack(waves, axis=1).astype(np.float32)
