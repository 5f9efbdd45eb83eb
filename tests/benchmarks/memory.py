"""How often a prepared dataset is in memory when 1, 2 and 4 workers of one node read it: once, as they share its pages.

    python tests/benchmarks/memory.py [--gigabytes 1.0]

Each worker is a process that opens the dataset as the fit does and gathers its share of each batch of an epoch, without the
network. Printed are the sum of the workers' proportional set sizes (PSS, /proc/PID/smaps_rollup: a page that n processes
share counts 1/n in each) before they read anything and after, and the part of it that is pages of the mapped rows
(/proc/PID/smaps), which is compared with the rows' size on disk.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common.processes import mapped_pss_bytes, pss_bytes
from common.report import Row, report

COLUMNS = 16


def make(home: Path, gigabytes: float) -> Path:
    """Prepare a dataset of so many GB, with 15 features and a target and windows side by side; return its folder."""
    from data.prepared.prepare import prepare
    from data.prepared.running import run_here
    from data.reading.files import FileNotes
    from data.reading.settings import DatasetSource, DataSettings

    num_files, names = 8, [f"c{number}" for number in range(COLUMNS - 1)]
    rows = int(gigabytes * 1e9 / 4 / COLUMNS / num_files)
    for number in range(num_files):
        values = np.random.default_rng(number).standard_normal((COLUMNS, rows), np.float32)
        table = pa.table({f"c{column}": values[column] for column in range(COLUMNS)})
        pq.write_table(table, home / f"file_{number}.parquet", compression="none")
    settings = DataSettings(
        series="{file}",
        features=names,
        targets=[f"c{COLUMNS - 1}"],
        lookback=96,
        horizon=24,
        stride=96,
        split=[1.0, 0.0, 0.0],
    )
    files = tuple(sorted(str(path) for path in home.glob("*.parquet")))
    source = DatasetSource("large", files, settings)
    facts = FileNotes(home / "sources")
    prepare([source], home / "prepared", facts, run_here)
    return next(path.parent for path in (home / "prepared").glob("*/manifest.json"))


def work(folder: str, rank: int, size: int, pipe: Any) -> None:
    """Be one worker: send "ready" after the imports, gather an epoch, send "read", and wait for the end."""
    import torch

    from data.prepared.encoding import EncodedDataset, make_encodings
    from data.prepared.prepared import PreparedDataset
    from workflows.fit.sampling import epoch_batches, worker_share

    torch.set_num_threads(1)
    prepared = PreparedDataset(Path(folder))
    dataset = EncodedDataset(prepared, make_encodings([prepared], [prepared.settings])[0])
    pipe.send("ready")
    pipe.recv()
    for batch in epoch_batches(dataset.lengths("train"), 256, (0, 0, 0)):
        dataset.batch("train", batch[worker_share(len(batch), rank, size)])
    pipe.send("read")
    pipe.recv()


def measure(folder: Path, size: int) -> dict[str, int]:
    """Return the sum of the workers' PSS before and after they have read all rows."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(size):
        own_end, worker_end = context.Pipe()
        process = context.Process(target=work, args=(str(folder), rank, size, worker_end))
        process.start()
        pipes.append(own_end)
        processes.append(process)
    pss = {}
    for moment in ("before", "after"):
        for pipe in pipes:
            pipe.recv()
        pss[moment] = sum(pss_bytes(process.pid or 0) for process in processes)
        pss["rows"] = sum(mapped_pss_bytes(process.pid or 0, "/values-") for process in processes)
        for pipe in pipes:
            pipe.send("go on")
    for process in processes:
        process.join()
    return pss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = make(Path(home), chosen.gigabytes)
        size = sum(path.stat().st_size for path in folder.glob("values-*.arrow"))
        pss = {workers: measure(folder, workers) for workers in (1, 2, 4)}
    rows = []
    for workers, each in pss.items():
        what = f"memory of {workers} worker{'s' if workers > 1 else ''} that read {size / 1e9:.2f} GB of prepared rows"
        beside = f"before: {each['before'] / 1e9:.2f} GB; pages of the rows: {each['rows'] / 1e9:.2f} GB"
        times_in_memory = each["rows"] / size
        result = f"rows held {times_in_memory:.2f} times"
        rows.append(Row(what, f"{each['after'] / 1e9:.2f} GB", beside, result, "once", times_in_memory < 1.01))
    report("memory", rows, values_bytes=size, pss={str(workers): each for workers, each in pss.items()})


if __name__ == "__main__":
    main()
