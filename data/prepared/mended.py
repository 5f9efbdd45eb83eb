"""Find prepared rows of earlier versions that may be wrong; they are prepared again, at another address."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.errors import InputError
from data.prepared.manifest import DamagedManifestError, Manifest
from data.prepared.part_files import DamagedRowsError
from data.prepared.prepared import PreparedDataset
from data.reading.csv_file import NULLS, header_of, records
from data.reading.file_format import FileFormat
from data.reading.files import FileNotes
from data.reading.looks import date_like
from data.reading.read import FILE_AS_SERIES, distinct_values, wanted_columns
from data.reading.settings import DatasetSource
from data.reading.table import read_table
from data.reading.texts import as_text
from data.reading.time_text import has_offset

FIRST_RIGHT = 2  # the first version of the manifest without these mistakes
CHECKED = "checked.json"  # beside the manifest: whether rounding to 32 bits lost steps of its rows
FEWEST_STEPS = 10  # of 32-bit resolution in the usual difference of two rows


def right_home(home: Path, source: DatasetSource, facts: FileNotes) -> Path:
    """Return the folder of a dataset: `home`, or another one if an earlier version left wrong rows in `home`."""
    try:
        version = Manifest.read(home).version
    except (OSError, DamagedManifestError):
        return home
    if version >= FIRST_RIGHT or not _may_be_wrong(home, source, facts):
        return home
    return home.with_name(hashlib.sha256(f"{home.name} mended".encode()).hexdigest()[:32])


def _may_be_wrong(home: Path, source: DatasetSource, facts: FileNotes) -> bool:
    """Return whether the rows may have a mistake of version 1: words read as missing, dates as numbers, mixed zones."""
    files = [*source.files, *source.test_files]
    try:
        return (
            any(_has_words(file, source, facts) for file in files)
            or _dates_as_counts(Manifest.read(home), source)
            or _mixed_zones(files, source, facts)
            or _series_across_files(source.files, source, facts)
            or _lost_steps(home)
        )
    except (InputError, DamagedRowsError, OSError):  # reported when the file is read
        return False


def _has_words(file: str, source: DatasetSource, facts: FileNotes) -> bool:
    """Return whether a text column of a CSV file has a word such as NA, which was read as missing."""
    form = source.settings.file_format
    left = [*(source.settings.time or []), *source.settings.optional]  # optional columns are newer than this mistake
    texts = [name for name in wanted_columns(source)[1] if name not in left]
    if not texts or form.kind_of(file) != "csv":
        return False
    fact = f"words for missing in {sorted(texts)}, {form}"
    known = facts.get(file, fact)
    if known is None:
        table = read_table(file, [], texts, form)
        known = any(bool(set(as_text(table.column(name)).unique().to_pylist()) & set(NULLS)) for name in texts)
        facts.put(file, fact, known)
    return bool(known)


def _dates_as_counts(manifest: Manifest, source: DatasetSource) -> bool:
    """Return whether whole numbers such as 20240131 were put on a grid of counts."""
    if not isinstance(source.settings.frequency, int) or manifest.time_span is None:
        return False
    first, last = (int(time) for time in manifest.time_span)
    looks = date_like(np.array([first, first, last], np.int64))
    return looks is not None and "format" in looks


def _mixed_zones(files: Sequence[str], source: DatasetSource, facts: FileNotes) -> bool:
    """Return whether some files have times with a zone and others without, by the first row of each."""
    settings = source.settings
    if len(files) < 2 or settings.time is None or len(settings.time) > 1 or settings.time_format is not None:
        return False
    kinds = set()
    for file in files:
        fact = f"zone of the first {settings.time[0]}, {settings.file_format}"
        known = facts.get(file, fact)
        if not isinstance(known, bool):
            known = _first_is_zoned(file, settings.time[0], settings.file_format)
            facts.put(file, fact, known)
        kinds.add(known)
    return len(kinds) > 1


def _first_is_zoned(file: str, name: str, form: FileFormat) -> bool:
    if form.kind_of(file) == "csv":
        header = header_of(file, form)
        rows = [fields for _, fields in islice(records(file, form), 2)]
        index = header.index(name) if name in header else 0
        text = rows[-1][index] if len(rows) == 2 and index < len(rows[-1]) else ""
        return bool(has_offset(pa.chunked_array([[text]]))[0])
    kind = read_table(file, [], [name], form).column(name).type
    return getattr(kind, "tz", None) is not None


def _series_across_files(files: Sequence[str], source: DatasetSource, facts: FileNotes) -> bool:
    """Return whether a series had rows in several files without a time that orders them."""
    series, form = source.settings.series, source.settings.file_format
    if source.settings.time is not None or series in (None, FILE_AS_SERIES):
        return False
    names: list[str] = []
    for file in files:
        fact = f"values of {series}, {form}"
        known = facts.get(file, fact)
        if not isinstance(known, list):
            known = distinct_values(file, str(series), form)
            facts.put(file, fact, known)
        names += known
    return len(names) > len(set(names))


def _lost_steps(home: Path) -> bool:
    """Return whether rounding to 32 bits visibly changed the differences of neighbouring rows."""
    kept = home / CHECKED
    with contextlib.suppress(OSError, ValueError):
        return json.loads(kept.read_text()) is not False
    lost = _loses_steps(PreparedDataset(home).train_rows())
    try:
        kept.write_text(json.dumps(lost))
    except OSError:
        return lost
    return lost


def _loses_steps(rows: npt.NDArray[Any]) -> bool:
    for column in rows.T:
        largest = np.nanmax(np.abs(column), initial=0.0)
        steps = np.abs(np.diff(column))
        steps = steps[steps > 0]
        whole = bool((column[~np.isnan(column)] % 1 == 0).all()) and largest < 2**24
        if len(steps) and not whole and float(np.median(steps)) < FEWEST_STEPS * float(np.spacing(np.float32(largest))):
            return True
    return False
