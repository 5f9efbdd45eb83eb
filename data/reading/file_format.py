"""How the bytes of a file are read: its format, header, numbers and missing values."""

from __future__ import annotations

import re
from dataclasses import dataclass

from data.errors import IN_RECIPE, InputError
from data.reading.files import bare_name, first_bytes

CSV_SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data")
PARQUET_SUFFIXES = (".parquet", ".pq", ".parquet.gzip", ".parquet.gz", ".parquet.snappy")
ARROW_SUFFIXES = (".arrow", ".feather", ".ipc")
PACKED = (".gz", ".bz2", ".zst")  # after a CSV suffix
SUFFIXES = {
    **dict.fromkeys(PARQUET_SUFFIXES, "parquet"),
    **dict.fromkeys(ARROW_SUFFIXES, "arrow"),
    **{f"{suffix}{packed}": "csv" for suffix in CSV_SUFFIXES for packed in ("", *PACKED)},
}
OTHER_CONTENT = {
    b"PK\x03\x04": "a ZIP archive (or Excel)",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    b"\x89HDF": "HDF5",
    b"%PDF": "a PDF",
}
WHITESPACE = "whitespace"


@dataclass(frozen=True)
class FileFormat:
    """The settings that decide how a file becomes columns.

    `format` None: decided by the file's suffix, then by its content. `rename` has pairs (name in the file, name in the
    recipe). `missing_texts` and `missing_numbers` mean missing in number columns, in addition to the standard words.
    """

    format: str | None = None
    delimiter: str = ","
    decimal: str = "."
    thousands: str | None = None
    encoding: str = "utf-8"
    column_names: tuple[str, ...] | None = None
    skip_rows: int = 0
    missing_texts: tuple[str, ...] = ()
    missing_numbers: tuple[float, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()

    def kind_of(self, file: str) -> str:
        """Return csv, parquet or arrow; raises InputError if recipe, suffix and content leave it open."""
        return self.format or SUFFIXES.get(suffix_of(file)) or _kind_by_content(file)


def suffix_of(file: str) -> str:
    """Return the longest known suffix of a file name in lower case, otherwise the part after its last dot."""
    name = bare_name(file).lower()
    known = [suffix for suffix in SUFFIXES if name.endswith(suffix)]
    return max(known, key=len) if known else re.sub(r"^.*(\.[^.]*)$|^.*$", r"\1", name)


def stem(file: str) -> str:
    """Return the file's name without folder and suffixes, as {file} gives it."""
    name = bare_name(file)
    suffix = suffix_of(file)
    return name[: len(name) - len(suffix)] if suffix in SUFFIXES else name


def _kind_by_content(file: str) -> str:
    start = first_bytes(file, 4096)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"ARROW1"):
        return "arrow"
    other = next((what for mark, what in OTHER_CONTENT.items() if start.startswith(mark)), None)
    if other or b"\0" in start.replace(b"\xff\xfe", b"")[:512:2]:
        raise InputError(
            f"{file}: it holds {other or 'neither text nor Parquet'}, which is not read: save it as CSV or Parquet, or "
            f'write format = "csv", "parquet" or "arrow" {IN_RECIPE} if it is one'
        )
    return "csv"
