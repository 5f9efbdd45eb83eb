"""Fill the columns of prepared rows from a series: gaps, label codes, calendar and missing flags."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from data.reading.columns import calendar_columns, codes_of
from data.reading.read import measured_numbers
from data.reading.settings import DatasetSource
from data.samples.gaps import fill_gaps
from data.samples.series import Series
from data.samples.splits import Bounds
from data.samples.stretch import Stretch


def fill_rows(
    rows: npt.NDArray[Any],
    each: Series,
    bounds: Bounds,
    source: DatasetSource,
    categories: dict[str, list[str]],
    stretch: Stretch | None = None,
) -> npt.NDArray[np.bool_]:
    """Write the columns of one series (see columns_of) into rows; returns which measured numbers were missing."""
    settings, width = source.settings, len(source.settings.features)
    absent: npt.NDArray[np.bool_] = np.isnan(measured_numbers(each.numbers, settings))
    if each.numbers.shape == rows.shape and not absent.any():
        rows[:] = each.numbers  # no other columns, nothing missing: one copy takes a third of the time
        return absent
    columns = [fill_gaps(each.numbers[:, :width], bounds, settings.missing, stretch)]
    columns += [codes_of(each.labels[name], categories[name])[:, None] for name in settings.categorical]
    if settings.calendar:
        assert each.times is not None
        columns.append(calendar_columns(each.times, settings, f"{each.where}, dataset {source.name!r}"))
    if settings.missing_flags:
        columns.append(absent[:, :width].astype(np.float32))
    weight = 0 if settings.weight is None else 1
    if weight:  # an inserted row has no observation and no weight
        columns.append(np.nan_to_num(each.numbers[:, width : width + 1]))
    if source.classes:
        columns += [codes_of(each.labels[name], categories[name])[:, None] for name in settings.targets]
    elif each.numbers.shape[1] > width + weight:
        columns.append(each.numbers[:, width + weight :])
    else:  # new rows to predict from, with unknown targets
        columns.append(np.full((len(rows), len(settings.targets)), np.nan, np.float32))
    np.concatenate(columns, axis=1, out=rows)
    return absent
