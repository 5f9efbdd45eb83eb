"""A dataset that is not in memory: batches in pooled order (training.shuffle_gb) compared with a fully random order.

    python tests/benchmarks/large.py [--gigabytes 1.0] [--windows 20000]

The prepared rows are dropped from the page cache (posix_fadvise DONTNEED) and gathered in batches of 64, without the
network: windows a second by the clock, for --windows windows of an epoch, in each order, in turn. A pool is a quarter of the
dataset. "Read ahead" is the pooled order with the rows of a pool requested (WILLNEED) before its first batch. The windows a
second of the fit itself are printed beside it: an order is fast enough when it reads more than that.
"""

from __future__ import annotations

import argparse
import itertools
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import numpy as np
from common.report import Row, report
from memory import make

from data.prepared.encoding import EncodedDataset, make_encodings
from data.prepared.prepared import PreparedDataset
from workflows.fit.sampling import POOL_BLOCKS, Int64, epoch_batches, pooled_batches

FITTED_A_SECOND = 4500  # windows of 96 steps, hidden 64, one thread: see fit.py


def drop(folder: Path) -> None:
    """Drop the pages of the rows from the page cache; no process may have them mapped."""
    for path in folder.glob("values-*.arrow"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(folder: Path) -> float:
    """Return the GB of the rows that are in the page cache, as fincore counts them, or -1 without fincore."""
    import shutil
    import subprocess

    if shutil.which("fincore") is None:
        return -1.0
    command = ["fincore", "--bytes", "--noheadings", "--output", "RES", *map(str, folder.glob("values-*.arrow"))]
    return sum(map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())) / 1e9


def ahead(dataset: EncodedDataset, pools: int, batches: Iterator[Int64], folder: Path) -> Iterator[Int64]:
    """Yield the same batches, but request the rows of each pool's windows before its first batch."""
    files = [path.open("rb") for path in sorted(folder.glob("values-*.arrow"))]
    width = 4 * len(dataset.prepared.columns)
    for pool in iter(lambda: list(itertools.islice(batches, pools)), []):
        samples = np.concatenate(pool)
        for number, positions in dataset.prepared.groups("train", samples):
            starts, lengths = dataset.prepared.locate("train", number, samples[positions])
            first = np.sort(starts)
            cuts = np.flatnonzero(np.diff(first) > 10 * int(lengths[0])) + 1
            for stretch in np.split(first, cuts):
                begin = int(stretch[0]) * width // mmap.PAGESIZE * mmap.PAGESIZE
                end = int(stretch[-1] + lengths[0]) * width
                os.posix_fadvise(files[number].fileno(), begin, end - begin, os.POSIX_FADV_WILLNEED)
        yield from pool


def rate(folder: Path, order: str, num_windows: int, batch: int = 64) -> float:
    """Return windows a second from a cold page cache."""
    drop(folder)
    prepared = PreparedDataset(folder)
    dataset = EncodedDataset(prepared, make_encodings([prepared], [prepared.settings])[0])
    count = dataset.num_samples("train")
    pool = count // 4
    if order == "random":
        batches = iter(epoch_batches(dataset.lengths("train"), batch, (0, 0, 0)))
    else:
        batches = pooled_batches(count, pool, batch, (0, 0, 0))
        if order == "read ahead":
            batches = ahead(dataset, POOL_BLOCKS * max(pool // POOL_BLOCKS, 1) // batch, batches, folder)
    started, seen = time.perf_counter(), 0
    for samples in batches:
        dataset.batch("train", samples)
        seen += len(samples)
        if seen >= num_windows:
            break
    return seen / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--windows", type=int, default=40_000, help="of an epoch's, that are gathered")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as home:
        folder = make(Path(home), chosen.gigabytes)
        drop(folder)
        cached_gb = resident(folder)
        measured: dict[str, list[float]] = {}
        for _ in range(chosen.rounds):
            for order in ("random", "pooled", "read ahead"):
                measured.setdefault(order, []).append(rate(folder, order, chosen.windows))
    rates = {order: statistics.median(rounds) for order, rounds in measured.items()}
    rows = [
        Row(
            f"windows a second from a cold disk, {order}",
            f"{rates[order]:,.0f} /s",
            f"fully random: {rates['random']:,.0f} /s; the fit takes {FITTED_A_SECOND:,} /s",
            f"{rates[order] / rates['random']:.1f} x",
        )
        for order in ("pooled", "read ahead")
    ]
    report("large", rows, rates=measured, left_in_cache_gb=cached_gb)


if __name__ == "__main__":
    main()
