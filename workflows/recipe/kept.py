"""Datasets without files whose prepared rows are still in the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from data.reading.settings import DatasetSource
from workflows.recipe.recipe import Entry

SCALING = {"scaling", "scaling_scope"}  # these keys are applied when rows are encoded, not when they are prepared


@dataclass(frozen=True)
class KeptDataset:
    """A dataset that a run was trained on: its description without files, and the folder of its prepared rows."""

    source: DatasetSource
    folder: str


def match_kept(entry: Entry, kept: Mapping[str, KeptDataset], classes: bool) -> list[DatasetSource]:
    """Return the kept datasets that match an entry whose files are gone: same name and settings, apart from scaling."""
    pattern = "".join(
        "(.+)" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^{}]*\})", entry.keys.name)
    )
    wanted = entry.settings.model_dump(exclude=SCALING)
    return [
        replace(each.source, settings=entry.settings, files=(), test_files=())
        for name, each in kept.items()
        if re.fullmatch(pattern, name)
        and each.source.settings.model_dump(exclude=SCALING) == wanted
        and each.source.classes == classes
    ]
