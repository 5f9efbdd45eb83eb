"""Put local files of a recipe's data into the storage under the hash of their content.

`<storage>/shipped/<hash>/<name>`: the same content is never sent twice, and an interrupted transfer continues with the
missing files. The nodes read them like any other address.
"""

from __future__ import annotations

import gzip
import hashlib
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pyarrow import fs

from cluster.telling import telling
from data.errors import InputError
from data.reading.files import is_uri, open_filesystem

SHIPPED = "shipped"
CHUNK = 1 << 22
COMPRESSED_UP_TO = 64 << 20  # larger files stay uncompressed: several nodes read their parts at once
PAYS_BELOW = 0.7  # compressed size relative to the original


@dataclass(frozen=True)
class Shipment:
    """The addresses of the files by their names in the recipe, and the size of the transfer."""

    addresses: Mapping[str, str]
    num_sent: int
    bytes_sent: int
    num_present: int

    def words(self, storage: str) -> str:
        """Return a sentence about the shipment."""
        present = f", {self.num_present} already present" if self.num_present else ""
        size = f"{self.bytes_sent / 1e6:.1f} MB" if self.bytes_sent >= 1e6 else f"{self.bytes_sent / 1e3:.0f} kB"
        return f"{self.num_sent} data files sent to {storage}/{SHIPPED}, {size}{present}"


def ship_files(files: Mapping[str, Path], storage: str, say: Callable[[str], object]) -> Shipment:
    """Upload files to a storage; raises InputError if this machine cannot write there."""
    root = f"{storage.rstrip('/')}/{SHIPPED}"
    addresses = dict[str, str]()
    sent = size = present = 0

    def tell(waited_s: float) -> None:
        say(f"sending data since {waited_s:.0f} s: file {len(addresses)} of {len(files)}, {size / 1e6:.0f} MB sent so far")

    try:
        with telling(tell):
            filesystem, inner = open_filesystem(root)
            for name, path in files.items():
                packed = _pays(path)
                inside = name.partition("/")[2].partition("/")[2] or name
                relative = f"{content_hash(path)[:32]}/{inside}" + (".gz" if packed else "")
                addresses[name] = f"{root}/{quote(relative) if is_uri(root) else relative}"
                if filesystem.get_file_info(f"{inner}/{relative}").type == fs.FileType.File:
                    present += 1
                else:
                    size += _send(path, packed, filesystem, f"{inner}/{relative}")
                    sent += 1
    except OSError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"--ship-data: {root} cannot be written from this machine ({reason}): data go through the storage: set its "
            "credentials on this machine, or put the files where the cluster can read them and write their addresses"
        ) from None
    return Shipment(addresses, sent, size, present)


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _pays(path: Path) -> bool:
    """Return whether to compress a file: a CSV file of moderate size whose beginning compresses well."""
    if not path.name.lower().endswith(".csv") or not 0 < path.stat().st_size <= COMPRESSED_UP_TO:
        return False
    with path.open("rb") as file:
        beginning = file.read(1 << 20)
    return len(zlib.compress(beginning, 6)) < PAYS_BELOW * len(beginning)


def _send(path: Path, packed: bool, filesystem: fs.FileSystem, target: str) -> int:
    """Write a file atomically; returns the bytes that were sent."""
    local = isinstance(filesystem, fs.LocalFileSystem)
    if local:
        filesystem.create_dir(target.rpartition("/")[0], recursive=True)
    scratch = f"{target}.{uuid.uuid4().hex[:8]}" if local else target  # objects appear complete
    with path.open("rb") as file, filesystem.open_output_stream(scratch, compression=None) as stream:
        if packed:
            content = gzip.compress(file.read(), 6, mtime=0)  # the same bytes each time
            stream.write(content)
            size = len(content)
        else:
            size = 0
            while chunk := file.read(CHUNK):
                stream.write(chunk)
                size += len(chunk)
    if local:
        filesystem.move(scratch, target)
    return size


def at_addresses(document: Mapping[str, Any], addresses: Mapping[str, str]) -> dict[str, Any]:
    """Return a recipe's document with the addresses of its shipped files instead of their names."""
    entries = [
        {
            key: [addresses.get(path, path) for path in value] if key in ("path", "test_path") else value
            for key, value in e.items()
        }
        for e in document["datasets"]
    ]
    return {**document, "datasets": entries}
