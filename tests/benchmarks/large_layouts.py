"""Memory of preparing and training datasets that are larger than what a process may hold, in three layouts.

    python tests/benchmarks/large_layouts.py [--gigabytes 8] [--columns 100] [--layouts l2 l3 l4]

The files are Parquet of float32 that cannot be compressed: l2: 12 files by time with 20 series in each; l3: one series in
12 files by time; l4: one series in one file with row groups of a million rows. Each layout is written, prepared on a Ray
with two cores, which is started for it, and then fitted for some steps with shuffle_gb = 0.5; its files are removed before
the next one. Memory is the peak that the kernel reports for each process (VmHWM) less its peak when the preparation began,
for Ray's processes and its shared memory, too; for a process that was started later it is the whole peak. The goal is at
most 1.5 GB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from layouts import Watch, children_of, peak_bytes

SERIES, FILES, GROUP_ROWS, SHUFFLE_GB, STEPS = 20, 12, 1 << 20, 0.5, 20
WANTED_BYTES = 1.5e9


def write_layout(folder: Path, layout: str, num_rows: int, columns: int) -> None:
    """Write the rows block by block, so that this process has one of twelve in memory."""
    folder.mkdir()
    random, series = np.random.default_rng(0), SERIES if layout == "l2" else 1
    steps = num_rows // series
    names = np.array([f"s{number:02d}" for number in range(series)])
    start, writer = np.datetime64("2000-01-01", "us").astype(np.int64), None
    for number in range(FILES):
        first, stop = steps * number // FILES, steps * (number + 1) // FILES
        times = np.repeat(start + np.arange(first, stop) * 1_000_000, series)
        table = pa.table(
            {
                "t": pa.array(times, pa.timestamp("us")),
                "site": pa.array(np.tile(names, stop - first)),
                **{f"c{column}": random.standard_normal(len(times), np.float32) for column in range(columns)},
            }
        )
        if layout != "l4":
            pq.write_table(table, folder / f"month_{number:02d}.parquet", row_group_size=GROUP_ROWS)
            continue
        writer = writer or pq.ParquetWriter(folder / "all.parquet", table.schema)
        writer.write_table(table, row_group_size=GROUP_ROWS)
    if writer is not None:
        writer.close()


def source_in(home: Path, layout: str, columns: int) -> Any:
    from data.reading.settings import DatasetSource, DataSettings

    settings = DataSettings(
        features=[f"c{column}" for column in range(columns)],
        targets=["c0"],
        lookback=96,
        horizon=24,
        split=[0.7, 0.1, 0.2],
        time="t",
        frequency="1s",
        series="site" if layout == "l2" else None,
    )
    return DatasetSource("rows", tuple(str(path) for path in sorted((home / layout).glob("*.parquet"))), settings)


def prepare_one(home: Path, layout: str, columns: int) -> dict[str, Any]:
    """Prepare on a Ray that this process starts; return the growth of each process, the largest first."""
    from common.preparing import first_execution

    from cluster.connect import connect
    from data.prepared.prepare import prepare
    from data.prepared.running import run_with_ray
    from data.reading.files import FileNotes

    source = source_in(home, layout, columns)
    connect(num_cpus=2)
    first_execution()
    before = {pid: peak_bytes(pid) for pid in [os.getpid(), *children_of(os.getpid())]}
    watch, started = Watch(), time.perf_counter()
    (dataset,) = prepare([source], home / "prepared", FileNotes(home / "prepared" / "sources"), run_with_ray)
    seconds = time.perf_counter() - started
    grown = sorted((peak - before.get(pid, 0) for pid, peak in watch.end().items()), reverse=True)
    return {
        "layout": layout,
        "source_gb": sum(Path(file).stat().st_size for file in source.files) / 1e9,
        "prepared_gb": sum(size for part in dataset.manifest.parts for size, _ in part.files.values()) / 1e9,
        "rows": dataset.manifest.rows,
        "parts": len(dataset.parts),
        "folder": str(dataset.folder),
        "seconds": seconds,
        "grown_gb": [round(each / 1e9, 2) for each in grown[:4]],
        "held": grown[0] <= WANTED_BYTES,
    }


def train_one(folder: Path) -> dict[str, Any]:
    """Fit some steps of an epoch; return the growth of this process."""
    from data.prepared.encoding import EncodedDataset, make_encodings
    from data.prepared.prepared import PreparedDataset
    from models.settings import ModelSettings
    from workflows.fit.group import Group
    from workflows.recipe.settings import TrainingSettings
    from workflows.relay.plan import make_plan
    from workflows.relay.walk import Walker
    from workflows.store.store import Store

    dataset = PreparedDataset(folder, "rows")
    encoded = [EncodedDataset(dataset, encoding) for encoding in make_encodings([dataset], [dataset.settings])]
    training = TrainingSettings(shuffle_gb=SHUFFLE_GB, batch_size=256)
    plan = make_plan(0, ModelSettings(hidden_size=16), training, encoded, [1])
    before, seen = peak_bytes(os.getpid()), [0]

    class EnoughError(Exception):
        pass

    def on_step(step: int, samples: int) -> None:
        seen[0] = samples
        if step + 1 == STEPS:
            raise EnoughError

    with tempfile.TemporaryDirectory() as store:
        walker = Walker(plan, encoded, Store(store), Group(), lambda event: None)
        epoch = next(plan.straight_on())
        started = time.perf_counter()
        with contextlib.suppress(EnoughError):
            pool = plan.pool(plan.stages[0])
            walker.learner.fit_epoch(encoded[0], plan.rates(epoch), (0, 0, 0), on_step, pool=pool)
    grown = peak_bytes(os.getpid()) - before
    return {
        "train_gb": dataset.train_bytes / 1e9,
        "pool": plan.pool(plan.stages[0]),
        "samples": seen[0],
        "seconds": time.perf_counter() - started,
        "grown_gb": round(grown / 1e9, 2),
        "held": grown <= WANTED_BYTES,
    }


def alone(*arguments: str) -> dict[str, Any]:
    """Run this program in a process of its own, and return what it prints."""
    command = [sys.executable, "-W", "ignore", __file__, *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    facts: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--layouts", nargs="+", default=["l2", "l3", "l4"])
    parser.add_argument("--prepare", nargs=2, metavar=("FOLDER", "LAYOUT"), help="only this layout, from existing files")
    parser.add_argument("--train", metavar="FOLDER", help="only fit, with this prepared dataset")
    chosen = parser.parse_args()
    if chosen.prepare:
        print(json.dumps(prepare_one(Path(chosen.prepare[0]), chosen.prepare[1], chosen.columns)), flush=True)
        return
    if chosen.train:
        print(json.dumps(train_one(Path(chosen.train))), flush=True)
        return
    rows = int(chosen.gigabytes * 1e9 / 4 / chosen.columns)
    for layout in chosen.layouts:
        with tempfile.TemporaryDirectory() as folder:
            write_layout(Path(folder) / layout, layout, rows, chosen.columns)
            facts = alone("--prepare", folder, layout, "--columns", str(chosen.columns))
            print("prepared", {key: value for key, value in facts.items() if key != "folder"}, flush=True)
            print("fitted", alone("--train", facts["folder"]), flush=True)


if __name__ == "__main__":
    main()
