"""Preparing 20 million rows of 8 float32 in 20 Parquet files: split, statistics of the train rows, windows ready to train.

    python tests/benchmarks/preparation.py [--files 20] [--rows 1000000] [--rounds 1]

Beside it in the same run: pandas in one process, and Ray Data as in its tutorials. Each runs in a separate process, in turn;
imports and Ray's start are not measured, nor Ray Data's first execution, which does nothing but start its processes and is
printed separately. Memory is the peak of the process and its descendants together, shared pages counted once (PSS), Ray's
own processes and the page cache of mapped files included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common.processes import Watched
from common.report import Row, report, times

RECIPE = """
name = "rows"
[data]
series = "{file}"
features = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"]
targets = ["c0"]
lookback = 96
horizon = 24
split = [0.7, 0.1, 0.2]
[[datasets]]
name = "rows"
path = "*.parquet"
"""


def write_files(folder: Path, num_files: int, num_rows: int) -> None:
    """Files of random numbers, as pandas would write them."""
    for number in range(num_files):
        values = np.random.default_rng(number).standard_normal((8, num_rows), np.float32)
        table = pa.table({f"c{column}": values[column] for column in range(8)})
        pq.write_table(table, folder / f"file_{number:02d}.parquet")
    (folder / "rows.toml").write_text(RECIPE)


def timed(way: str, folder: Path) -> dict[str, float]:
    """Return the seconds that one way takes, and the number of windows that it finds."""
    program = subprocess.Popen(command(way, folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdin
    assert program.stdout
    while not (line := program.stdout.readline()).startswith("ready"):
        assert line, f"{way} ended with {program.wait()}"
    os.sync()  # so that the files of the way before are not written to the disk while this one is timed
    started = time.perf_counter()
    program.stdin.write("\n")
    program.stdin.flush()
    count = int(program.stdout.readline())
    seconds = time.perf_counter() - started
    program.communicate()
    forget(folder)
    return {"seconds": seconds, "windows": count, "first": float(line.split()[1])}


def peak_memory(way: str, folder: Path) -> dict[str, float]:
    """Return the bytes of one way at its peak and before it began, without its seconds: sampling makes it slower."""
    program = Watched(command(way, folder))
    while not program.next_line().startswith("ready"):
        pass
    before = program.forget_peak()
    program.go_on()
    program.next_line()
    peak = program.peak_bytes
    program.end()
    forget(folder)
    return {"peak_bytes": peak, "before_bytes": before}


def command(way: str, folder: Path) -> list[str]:
    """Return the command line of one way."""
    return [sys.executable, str(Path(__file__).parent / "common" / "preparing.py"), way, str(folder)]


def forget(folder: Path) -> None:
    """Remove what was prepared, so that the next way prepares it again."""
    for left in ("runs", "scaled"):
        shutil.rmtree(folder / left, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=["ours", "pandas", "ray_data"])
    chosen = parser.parse_args()
    took: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as home:
        write_files(Path(home), chosen.files, chosen.rows)
        for _ in range(chosen.rounds):
            for way in chosen.ways:
                took.setdefault(way, []).append(timed(way, Path(home)))
                print(way, took[way][-1], file=sys.stderr)
        memory = {way: peak_memory(way, Path(home)) for way in chosen.ways}
    if set(took) != {"ours", "pandas", "ray_data"}:
        return

    def median(way: str, what: str) -> float:
        return statistics.median(each[what] for each in took[way])

    size = f"{chosen.files * chosen.rows / 1e6:g} million rows"
    ours_bytes, pandas_bytes = memory["ours"]["peak_bytes"], memory["pandas"]["peak_bytes"]
    rows = [
        times(f"preparing {size}", median("ours", "seconds"), median("pandas", "seconds"), 2.5, "s", "pandas"),
        times(f"preparing {size}", median("ours", "seconds"), median("ray_data", "seconds"), 5, "s", "Ray Data"),
        Row(
            f"preparing {size}: memory, Ray's own processes included",
            f"{ours_bytes / 1e9:.2f} GB",
            f"pandas: {pandas_bytes / 1e9:.2f} GB",
            f"{ours_bytes / pandas_bytes:.2f}",
            "0.25",
            ours_bytes <= pandas_bytes / 4,
        ),
    ]
    ours_grown, pandas_grown = ours_bytes - memory["ours"]["before_bytes"], pandas_bytes - memory["pandas"]["before_bytes"]
    rows.append(
        Row(
            f"preparing {size}: memory beyond what was there before it began",
            f"{ours_grown / 1e9:.2f} GB",
            f"pandas: {pandas_grown / 1e9:.2f} GB",
            f"{ours_grown / pandas_grown:.2f}",
        )
    )
    first = f"{median('ours', 'first'):.1f} s"
    rows.append(
        Row(
            "Ray Data's first execution, of nothing, not counted above",
            first,
            f"Ray Data: {median('ray_data', 'first'):.1f} s",
        )
    )
    report("preparation", rows, files=chosen.files, rows_a_file=chosen.rows, took=took, memory=memory)


if __name__ == "__main__":
    main()
