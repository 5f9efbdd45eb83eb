"""Columns that a file may lack: missing throughout, with a warning, unless the name is only misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from data.errors import IN_RECIPE
from data.reading.settings import DatasetSource
from data.reading.table import column_names, has_column

MOST_FILES = 3  # named in a warning


def absent_columns(file: str, source: DatasetSource) -> list[str]:
    """Return the optional columns that a file does not have."""
    settings = source.settings
    return [name for name in settings.optional if not has_column(file, name, settings.file_format)]


def misspelt_problems(file: str, source: DatasetSource) -> list[str]:
    """Return the problems of optional columns that a file has under another spelling."""
    absent = absent_columns(file, source)
    if not absent:
        return []
    letters = {_letters(name): name for name in _unused_columns(file, source)}
    return [
        f"{file}: there is no column {name!r}, which is optional, but {letters[_letters(name)]!r}: write rename = "
        f'{{"{letters[_letters(name)]}" = "{name}"}} {IN_RECIPE}'
        for name in absent
        if _letters(name) in letters
    ]


def optional_warnings(source: DatasetSource, observed: Mapping[str, float]) -> list[str]:
    """Return a warning for each optional column without values or that files lack; `observed` counts train values."""
    warnings = []
    absent = {file: absent_columns(file, source) for file in source.files} if source.settings.optional else {}
    for name in source.settings.optional:
        without = [file for file in source.files if name in absent[file]]
        nowhere = observed.get(name, 1) == 0
        if without and len(without) == len(source.files):
            near = difflib.get_close_matches(name, _unused_columns(source.files[0], source), 1, 0.6)
            hint = f"; the nearest name is {near[0]!r}" if near else ""
            warnings.append(f"optional column {name!r} is in none of its files and is treated as missing throughout{hint}")
        elif without:
            named = ", ".join(without[:MOST_FILES]) + (" ..." if len(without) > MOST_FILES else "")
            warnings.append(
                f"optional column {name!r} is not in {len(without)} of {len(source.files)} files: treated as missing "
                f"there ({named})"
            )
        elif nowhere:
            warnings.append(f"optional column {name!r} has no value in the train rows and is treated as missing throughout")
    return warnings


def _unused_columns(file: str, source: DatasetSource) -> list[str]:
    """Return the columns of a file that the recipe does not use."""
    settings = source.settings
    used = {*settings.features, *settings.targets, *settings.categorical, *settings.rename, *(settings.time or [])}
    used |= {name for name in (settings.series, settings.weight) if name is not None}
    return [name for name in column_names(file, settings.file_format) if name not in used]


def _letters(name: str) -> Sequence[str]:
    return "".join(letter for letter in name.lower() if letter.isalnum())
