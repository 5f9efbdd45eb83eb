"""The files of a part: rows and the places of samples, in uncompressed Arrow that is memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.reading.settings import SPLITS

Float32 = npt.NDArray[np.float32]


def write_values(values: Float32, path: Path) -> None:
    """Write rows (rows, columns) so that they can be mapped."""
    flat = pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])
    column = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    _write([pa.record_batch([column], names=["values"])], path)


def write_samples(samples: Mapping[str, Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]], path: Path) -> None:
    """Write, for each split, the first rows and the lengths of its samples."""
    batches = []
    for split in SPLITS:
        starts = np.concatenate([np.empty(0, np.int64), *(starts for starts, _ in samples[split])])
        lengths = np.concatenate([np.empty(0, np.int64), *(lengths for _, lengths in samples[split])])
        batches.append(pa.record_batch([pa.array(starts), pa.array(lengths.astype(np.int32))], names=["start", "length"]))
    _write(batches, path)


def _write(batches: list[pa.RecordBatch], path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def file_facts(path: Path) -> tuple[int, str]:
    """The bytes of a file and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
