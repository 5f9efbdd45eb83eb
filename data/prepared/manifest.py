"""The manifest of a prepared dataset: facts about its rows and samples, as a value and as a file."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from data.errors import FailedError
from data.prepared.origin import MANIFEST as MANIFEST
from data.reading.columns import Column
from data.reading.files import make_folder
from data.reading.settings import SPLITS
from data.samples.counts import Counts
from data.samples.naive_sums import NaiveSums
from data.samples.part import Part
from data.samples.statistics import Statistics
from data.signed import read_signed, signed

FORMAT = 2  # of the prepared folder; a new number prepares everything again
HASH = "manifest_sha256"  # of all other keys of the manifest; earlier versions wrote none
VERSION = 2  # of the manifest; 1 (or absent) has no counts


class DamagedManifestError(FailedError):
    """A manifest has changed since it was written."""


@dataclass(frozen=True)
class Manifest:
    """The properties of one prepared dataset.

    `settings` decide the rows and samples, as JSON. `sha256` has, for each split, the hash of all rows that its samples can
    see. `naive` has, for validation and test, the sums of the naive forecast's errors. `missing` and
    `longest_gap` count cells and rows by column. `counts` is None in a manifest of version 1.
    """

    name: str
    columns: list[Column]
    targets: list[str]
    classes: bool
    horizon: int
    samples: dict[str, int]
    parts: list[Part]
    settings: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    rows: int = 0
    num_series: int = 0
    used_rows: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    longest_gap: dict[str, int] = field(default_factory=dict)
    time_span: tuple[str, str] | None = None
    statistics: Statistics = field(default_factory=lambda: Statistics.empty(0))
    sha256: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SPLITS, ""))
    warnings: list[str] = field(default_factory=list)
    naive: dict[str, NaiveSums] = field(default_factory=dict)
    counts: Counts | None = None
    format: int = FORMAT
    version: int = VERSION

    @property
    def mean_weight(self) -> float:
        """Return the mean weight of the train samples; 1 without train samples, because weights are then only compared."""
        total, count = math.fsum(part.weight for part in self.parts), self.samples["train"]
        return total / count if count else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON."""
        plain = {key: value for key, value in vars(self).items() if key not in ("columns", "parts", "statistics", "counts")}
        return plain | {
            "columns": [asdict(column) for column in self.columns],
            "parts": [part.to_json() for part in self.parts],
            "statistics": self.statistics.to_json(),
            "counts": None if self.counts is None else self.counts.to_json(),
            "naive": {split: sums.to_json() for split, sums in self.naive.items()},
        }

    @staticmethod
    def from_json(facts: dict[str, Any]) -> Manifest:
        """Return the manifest that to_json wrote, in this version or in version 1."""
        made = {
            "columns": [Column(**column) for column in facts["columns"]],
            "parts": [Part.from_json(part) for part in facts["parts"]],
            "statistics": Statistics.from_json(facts["statistics"]),
            "counts": Counts(**facts["counts"]) if facts.get("counts") else None,
            "time_span": tuple(facts["time_span"]) if facts["time_span"] else None,
            "naive": {split: NaiveSums.from_json(sums) for split, sums in facts.get("naive", {}).items()},
            "version": facts.get("version", 1),
        }
        known = {each.name: facts[each.name] for each in fields(Manifest) if each.name in facts}
        return Manifest(**{**known, **made})

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder."""
        (folder / MANIFEST).write_bytes(signed(self.to_json(), HASH))

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Return the manifest of a folder; raises DamagedManifestError if it has changed since it was written."""
        try:
            return Manifest.from_json(read_signed((folder / MANIFEST).read_bytes(), HASH))
        except (ValueError, KeyError, TypeError, AttributeError, IsADirectoryError) as error:
            raise DamagedManifestError(
                f"{folder / MANIFEST} is damaged ({error!r}): run train or prepare again, which prepares the dataset again"
            ) from None


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a scratch folder inside `folder`; after an error the folders made for it are removed too."""
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    scratch = folder / f".preparing-{uuid.uuid4().hex[:12]}"
    make_folder(scratch)
    try:
        yield scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(OSError):  # another run may use the folder
            for path in absent:
                path.rmdir()
        raise
    shutil.rmtree(scratch, ignore_errors=True)


def put_in_place(prepared: Path, home: Path) -> None:
    """Move a finished folder to its address, unless another run was faster; a folder there without a manifest is removed."""
    while True:
        try:
            prepared.rename(home)
            return
        except OSError:
            if (home / MANIFEST).exists():
                return
            if not os.path.lexists(home):
                raise
        take_away(home, lambda moved: not (moved / MANIFEST).exists())


def take_away(home: Path, is_lost: Callable[[Path], bool]) -> None:
    """Remove the folder at an address if it is lost.

    It is moved to a private name, checked there and moved back if it is whole: another run may have replaced it since the
    caller saw it.
    """
    aside = home.with_name(f".removed-{uuid.uuid4().hex[:8]}")
    try:
        home.rename(aside)
    except FileNotFoundError:
        return
    if not is_lost(aside):
        with contextlib.suppress(OSError):  # another one may be there already
            aside.rename(home)
            return
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)  # a file, or a link to nothing
