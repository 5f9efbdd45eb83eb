"""One panel in three layouts of files, prepared on 2 cores: seconds and peak memory, beside pandas and Polars.

    python tests/benchmarks/layouts.py [--rows 20000000] [--rounds 3] [--ways l1 l2 l4 pandas polars]

20 series of 8 float32. l1: a file for each series. l2: 12 files by time with all series in each. l4: one series in one
large Parquet file. Each way runs in a separate process, in turn; ours on a Ray that it starts, whose start and first
execution are not measured. Memory is that of the process that grew most, as the kernel reports its peak (VmHWM). pandas has
all rows in memory; Polars, if it is installed, streams: mean and deviation of the train rows, scale, sort, write Arrow IPC.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common.report import Row, report

SERIES, COLUMNS, FILES = 20, 8, 12
TRAIN = 0.7


def write_files(home: Path, num_rows: int) -> None:
    """Write the same rows in each layout."""
    per_series = num_rows // SERIES
    random = np.random.default_rng(0)
    times = np.datetime64("2020-01-01", "us").astype(np.int64) + np.arange(per_series) * 1_000_000
    stamp = pa.timestamp("us")
    values = random.standard_normal((COLUMNS, SERIES, per_series), np.float32)
    names = np.array([f"s{number:02d}" for number in range(SERIES)])
    for layout in ("l1", "l2", "l4"):
        (home / layout).mkdir()
    for number, name in enumerate(names):
        columns = {f"c{column}": values[column, number] for column in range(COLUMNS)}
        table = pa.table({"t": pa.array(times, stamp), "site": pa.array([name] * per_series), **columns})
        pq.write_table(table, home / "l1" / f"{name}.parquet")
    for number in range(FILES):
        start, stop = per_series * number // FILES, per_series * (number + 1) // FILES
        columns = {f"c{column}": values[column, :, start:stop].T.reshape(-1) for column in range(COLUMNS)}
        keys = {"t": pa.array(np.repeat(times[start:stop], SERIES), stamp), "site": pa.array(np.tile(names, stop - start))}
        pq.write_table(pa.table({**keys, **columns}), home / "l2" / f"month_{number:02d}.parquet")
    all_times = times[0] + np.arange(per_series * SERIES) * 1_000_000
    columns = {f"c{column}": values[column].reshape(-1) for column in range(COLUMNS)}
    pq.write_table(pa.table({"t": pa.array(all_times, stamp), **columns}), home / "l4" / "all.parquet")


def peak_bytes(pid: int) -> int:
    """Return the peak memory of a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def children_of(pid: int) -> list[int]:
    """Return all descendants of a process."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
            except OSError:
                continue
    pids, todo = [], [pid]
    while todo:
        todo += (new := parents.get(todo.pop(), []))
        pids += new
    return pids


class Watch:
    """The peak memory of this process and of each descendant, sampled, as some end before the work does."""

    def __init__(self) -> None:
        self.peaks: dict[int, int] = {}
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.done.wait(0.1):
            for pid in [os.getpid(), *children_of(os.getpid())]:
                self.peaks[pid] = max(self.peaks.get(pid, 0), peak_bytes(pid))

    def end(self) -> dict[int, int]:
        self.done.set()
        self.thread.join()
        return self.peaks


def ours(home: Path, layout: str) -> dict[str, Any]:
    """Prepare one layout on a Ray that this process starts."""
    from common.preparing import first_execution

    from cluster.connect import connect
    from data.prepared.prepare import prepare
    from data.prepared.running import run_with_ray
    from data.reading.files import FileNotes
    from data.reading.settings import DatasetSource, DataSettings

    settings = DataSettings(
        features=[f"c{column}" for column in range(COLUMNS)],
        targets=["c0"],
        lookback=96,
        horizon=24,
        split=[TRAIN, 0.1, 0.2],
        time="t",
        frequency="1s",
        series=None if layout == "l4" else "site",
    )
    files = tuple(str(path) for path in sorted((home / layout).glob("*.parquet")))
    connect(num_cpus=2)
    first_execution()
    before = {pid: peak_bytes(pid) for pid in [os.getpid(), *children_of(os.getpid())]}
    watch, started = Watch(), time.perf_counter()
    (dataset,) = prepare(
        [DatasetSource("rows", files, settings)], home / "prepared", FileNotes(home / "prepared" / "sources"), run_with_ray
    )
    seconds = time.perf_counter() - started
    grown = max(peak - before.get(pid, 0) for pid, peak in watch.end().items())
    return {"seconds": seconds, "grown_bytes": grown, "parts": len(dataset.parts), "windows": dataset.num_samples("train")}


def with_pandas(home: Path) -> dict[str, Any]:
    """Prepare all rows at once, as in a notebook."""
    import pandas as pd

    before, started = peak_bytes(os.getpid()), time.perf_counter()
    frame = pd.concat([pd.read_parquet(path) for path in sorted((home / "l2").glob("*.parquet"))])
    frame = frame.sort_values(["site", "t"])
    values = frame[[f"c{column}" for column in range(COLUMNS)]]
    train = frame.groupby("site").cumcount() < TRAIN * frame.groupby("site")["t"].transform("size")
    scaled = ((values - values[train].mean()) / values[train].std(ddof=0)).astype(np.float32)
    np.save(home / "scaled.npy", scaled.to_numpy())
    return {"seconds": time.perf_counter() - started, "grown_bytes": peak_bytes(os.getpid()) - before}


def with_polars(home: Path) -> dict[str, Any]:
    """Let Polars compute statistics of the train rows, scale, sort and write Arrow IPC, in streaming mode."""
    import polars as pl

    before, started = peak_bytes(os.getpid()), time.perf_counter()
    names = [f"c{column}" for column in range(COLUMNS)]
    frame = pl.scan_parquet(sorted((home / "l2").glob("*.parquet")))
    span = frame.select(pl.col("t").min().alias("low"), pl.col("t").max().alias("high")).collect(engine="streaming")
    border = span["low"][0] + (span["high"][0] - span["low"][0]) * TRAIN
    means = [pl.col(name).mean().alias(f"{name}_mean") for name in names]
    deviations = [pl.col(name).std(ddof=0).alias(f"{name}_std") for name in names]
    figures = frame.filter(pl.col("t") < border).select(means + deviations).collect(engine="streaming")
    scaled = [((pl.col(n) - figures[f"{n}_mean"][0]) / figures[f"{n}_std"][0]).cast(pl.Float32) for n in names]
    frame.sort("site", "t").select(scaled).sink_ipc(home / "scaled.arrow", compression="uncompressed", engine="streaming")
    return {"seconds": time.perf_counter() - started, "grown_bytes": peak_bytes(os.getpid()) - before}


WAYS = {"pandas": with_pandas, "polars": with_polars}


def rows_of(took: dict[str, list[dict[str, Any]]], num_rows: int) -> list[Row]:
    """Compare the layouts with l1, and files by time with pandas and Polars, by the medians of the rounds."""
    seconds = {way: statistics.median(each["seconds"] for each in rounds) for way, rounds in took.items() if rounds}
    grown = {way: max(each["grown_bytes"] for each in rounds) for way, rounds in took.items() if rounds}
    what, rows = f"preparing {num_rows / 1e6:g} million rows, layout", []
    for way, beside, most in [("l2", "l1", 2.5), ("l4", "l1", None), ("l2", "polars", 1.5), ("l2", "pandas", None)]:
        if way in seconds and beside in seconds:
            ratio = seconds[way] / seconds[beside]
            ours_text = f"{seconds[way]:.1f} s, one process grew by {grown[way] / 1e9:.2f} GB"
            peer_text = f"{beside}: {seconds[beside]:.1f} s, {grown[beside] / 1e9:.2f} GB"
            reached = None if most is None else ratio <= most
            wanted = f"at most {most} x" if most else ""
            rows.append(Row(f"{what} {way}", ours_text, peer_text, f"{ratio:.2f} x its time", wanted, reached))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=["l1", "l2", "l4", "pandas", "polars"])
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help="only this way, on existing files")
    chosen = parser.parse_args()
    if chosen.one:
        way, home = chosen.one[0], Path(chosen.one[1])
        print(json.dumps(WAYS[way](home) if way in WAYS else ours(home, way)), flush=True)
        return
    took: dict[str, list[dict[str, Any]]] = {way: [] for way in chosen.ways}
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), chosen.rows)
        for _ in range(chosen.rounds):
            for way in chosen.ways:
                os.sync()
                command = [sys.executable, __file__, "--one", way, folder]
                ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
                if ended.returncode == 0:
                    took[way].append(json.loads(ended.stdout.strip().splitlines()[-1]))
                print(way, took[way][-1] if ended.returncode == 0 else "failed", flush=True)
                shutil.rmtree(Path(folder) / "prepared", ignore_errors=True)
    report("layouts", rows_of(took, chosen.rows), rounds=chosen.rounds, took=took)


if __name__ == "__main__":
    main()
