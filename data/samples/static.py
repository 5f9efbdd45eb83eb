"""Check that static columns have one value in each series."""

from __future__ import annotations

import numpy as np

from data.errors import InputError
from data.reading.settings import DatasetSource
from data.samples.series import Series


def check_static(each: Series, source: DatasetSource) -> None:
    """Raise InputError if a static column has two values in a series; missing values are ignored."""
    settings = source.settings
    for name in settings.static:
        column = each.numbers[:, settings.features.index(name)]
        known = column[~np.isnan(column)]
        other = np.flatnonzero(known != known[:1])
        if len(other):
            raise InputError(
                f"{each.where}, dataset {source.name!r}: series {each.name!r} has {name} = {known[0]:g} and "
                f"{known[other[0]]:g}, and {name!r} is in static: it must be constant in a series: move it to features"
            )
