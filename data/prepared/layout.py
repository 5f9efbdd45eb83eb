"""Decide by file sizes how a dataset is prepared: each file by itself, in one piece, or cut into parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from data.reading.file_format import PACKED
from data.reading.files import bare_name, compression_ratio, file_bytes
from data.reading.settings import DatasetSource

CUT_BYTES = 64 << 20  # of the files of a dataset; smaller ones are prepared in one piece in about a second
LARGE_FILE_BYTES = 1 << 30  # of a file with its own series; preparing it in one piece takes four times as much memory
PACKED_TIMES = 4  # minimum compression ratio assumed for a compressed CSV file; gzip reaches 7, bz2 13 on numbers


def sizes_of(sources: Iterable[DatasetSource]) -> dict[str, int]:
    """Return the approximate size of each file, uncompressed if its name has a compression suffix.

    The compression ratio of a dataset's files is measured on the first MB of its largest compressed one.
    """
    sizes: dict[str, int] = {}
    for source in sources:
        stored = {file: file_bytes(file) for file in (*source.files, *source.test_files)}
        packed = [file for file in stored if bare_name(file).lower().endswith(PACKED)]
        times = max(PACKED_TIMES, compression_ratio(max(packed, key=stored.__getitem__))) if packed else 1.0
        sizes.update({file: round(size * times) if file in packed else size for file, size in stored.items()})
    return sizes


def is_cut_at_once(source: DatasetSource, sizes: Mapping[str, int]) -> bool:
    """Return whether the dataset is cut into parts without a look at whether series cross files.

    Files with their own series are prepared each by itself, unless one is too large. If all files form one series, or
    there is one file, a single process would otherwise prepare everything.
    """
    if source.settings.time is None and len(source.files) > 1:
        return False  # each file is a series
    apart = source.settings.series is not None and source.settings.split_by == "time" and len(source.files) > 1
    if apart:
        return any(sizes[file] >= LARGE_FILE_BYTES for file in (*source.files, *source.test_files))
    return is_worth_cutting(source, sizes)


def is_worth_cutting(source: DatasetSource, sizes: Mapping[str, int]) -> bool:
    """Return whether there is too much data for one process to prepare in one piece."""
    return sum(sizes[file] for file in (*source.files, *source.test_files)) >= CUT_BYTES
