"""Group the rows of files into series: by a column or by file, each in time order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.errors import InputError
from data.reading.file_format import stem
from data.reading.find import natural_order
from data.reading.read import FILE_AS_SERIES, Rows
from data.reading.settings import DatasetSource
from data.samples.ordering import in_order
from data.samples.series import Series, join_files, take_rows


def series_of(files: Sequence[Rows], source: DatasetSource) -> Iterator[Series]:
    """Return the series of some files, by name; a series may come from several files if rows have a time.

    Without a time the order of files is unknown: each file is its own series, or has its own series of each name, in
    natural order of the file names (part2 before part10).
    """
    settings = source.settings
    if settings.series is None and not sum(len(rows.numbers) for rows in files):
        values = " and ".join(f"{column} = {value!r}" for column, value in source.where.items())
        raise InputError(f"{files[0].file}, dataset {source.name!r}: no row has {values}: take the file out of the path")
    untimed = settings.time is None and len(files) > 1
    if untimed:
        files = sorted((rows for rows in files if len(rows.numbers)), key=lambda rows: natural_order(rows.file))
    if settings.series == FILE_AS_SERIES or (untimed and settings.series is None):
        groups = _by_file(files, together=settings.series == FILE_AS_SERIES)
        for name in groups if settings.series is None else sorted(groups):
            yield in_order(join_files(groups[name], name), source, groups[name])
    elif settings.series is None:
        yield in_order(join_files(files, source.name), source, files)
    elif untimed:
        pieces = [(rows, each) for rows in files for each in _by_key([rows], source)]
        count = Counter(each.name for _, each in pieces)
        if len(count) == len(pieces):  # no series continues in another file
            pieces.sort(key=lambda piece: piece[1].name)
        for rows, each in pieces:
            name = each.name if count[each.name] == 1 else f"{each.name} ({stem(rows.file)})"
            yield in_order(replace(each, name=name), source, [rows])
    else:
        for each in _by_key(files, source):
            yield in_order(each, source, files)


def _by_file(files: Sequence[Rows], together: bool) -> dict[str, list[Rows]]:
    """Return the files of each name; `together`: files of one name in several folders are one series."""
    stems = [stem(rows.file) for rows in files]
    groups: dict[str, list[Rows]] = {}
    for rows, name in zip(files, stems, strict=True):
        groups.setdefault(name if together or stems.count(name) == 1 else rows.file, []).append(rows)
    return groups


def _by_key(files: Sequence[Rows], source: DatasetSource) -> Iterator[Series]:
    """Return the series that a column names."""
    whole = join_files(files, source.name)
    keys = [rows.series for rows in files if rows.series is not None]
    keys_of_rows = (
        pa.chunked_array([chunk for key in keys for chunk in key.chunks], pa.string()).combine_chunks().dictionary_encode()
    )
    names, codes = np.unique(np.asarray(keys_of_rows.dictionary.to_pylist(), dtype=str), return_inverse=True)
    codes = codes[keys_of_rows.indices.to_numpy()]
    if np.all(np.diff(codes) >= 0):
        order: npt.NDArray[np.intp] | None = None  # already grouped, as in most files: no copy
    else:
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
    starts = np.searchsorted(codes, np.arange(len(names) + 1))
    for name, start, stop in zip(names, starts[:-1], starts[1:], strict=True):
        rows = slice(start, stop) if order is None else order[start:stop]
        yield replace(take_rows(whole, rows), name=str(name))
