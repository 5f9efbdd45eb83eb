"""The files of a part: rows and sample positions, in uncompressed Arrow that is memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.reading.settings import SPLITS
from data.samples.spans import Listed, Spans, smaller

Float32 = npt.NDArray[np.float32]
SPAN = ("first", "count", "stride", "length")


def write_values(values: Float32, path: Path) -> None:
    """Write rows (rows, columns) so that they can be mapped."""
    flat = pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])
    column = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    _write([pa.record_batch([column], names=["values"])], path)


def write_samples(samples: Mapping[str, Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]], path: Path) -> None:
    """Write the first rows and the lengths of the samples of each split, regular ones as spans."""
    splits = []
    for split in SPLITS:
        starts = np.concatenate([np.empty(0, np.int64), *(starts for starts, _ in samples[split])])
        lengths = np.concatenate([np.empty(0, np.int64), *(lengths for _, lengths in samples[split])])
        splits.append(Listed(starts, lengths.astype(np.int32)))
    _write([_batch_of(each) for each in smaller(splits)], path)


def _batch_of(samples: Listed | Spans) -> pa.RecordBatch:
    if isinstance(samples, Listed):
        return pa.record_batch([pa.array(samples.starts), pa.array(samples.lengths)], names=["start", "length"])
    # One column of structs: earlier versions, without spans, fail on it instead of misreading it.
    columns = {name: pa.array(getattr(samples, name)) for name in SPAN}
    return pa.record_batch([pa.StructArray.from_arrays(list(columns.values()), list(columns))], names=["span"])


def samples_in(batch: pa.RecordBatch) -> Listed | Spans:
    """Return the samples of a split: views into the batch."""
    spans = batch.schema.names == ["span"]
    columns = [batch.column(0).field(name) for name in SPAN] if spans else [batch.column(0), batch.column(1)]
    arrays = [column.to_numpy(zero_copy_only=True) for column in columns]
    return Spans(*arrays) if spans else Listed(*arrays)


def _write(batches: list[pa.RecordBatch], path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def file_facts(path: Path) -> tuple[int, str]:
    """Return the size of a file and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
