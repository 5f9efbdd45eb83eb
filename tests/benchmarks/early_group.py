"""Whether Ray Train's group should start while Ray Data prepares: seconds until both are done, in three ways.

    python tests/benchmarks/early_group.py [--rounds 3] [--files 24] [--rows 60000]

after: the group starts when the datasets are prepared. beside: it starts together with the preparation, without reserving
cores, and waits. imports: only this process imports Ray Train meanwhile. Each round is a separate process that starts a Ray
of its own; the order of the ways changes from round to round. The processor seconds of all processes are printed too, as
other programs on the machine change them little: the start takes at least these divided by the number of cores.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

import numpy as np
from common.processes import family
from common.report import Row, report

WAYS = ("after", "beside", "imports")
RECIPE = """
name = "early"
[data]
time = "t"
features = ["a", "b", "c", "d"]
targets = ["a"]
frequency = 1
lookback = 48
horizon = 12
[[datasets]]
name = "{file}"
path = "*.csv"
[compute]
num_workers = 2
"""


def write_files(folder: Path, files: int, rows: int) -> None:
    random = np.random.default_rng(0)
    for number in range(files):
        values = random.normal(size=(rows, 4)).round(4)
        lines = np.char.mod("%.4f", values)
        text = "\n".join(f"{row}," + ",".join(line) for row, line in enumerate(lines.tolist()))
        (folder / f"f{number:02d}.csv").write_text("t,a,b,c,d\n" + text + "\n")
    (folder / "early.toml").write_text(RECIPE)


def processor_seconds() -> float:
    """Return the processor seconds of this process and of its living descendants."""
    total = 0
    for pid in family(os.getpid()):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def begin(config: dict[str, Any]) -> None:
    """Do what a worker does before its first epoch: import, and wait for the datasets."""
    import torch.distributed as dist

    importlib.import_module("workflows.relay.walk")
    go = Path(config["go"])
    while not go.exists():
        time.sleep(0.05)
    (go.parent / f"began-{dist.get_rank()}").touch()


def run_way(way: str, folder: Path, storage: Path) -> None:
    """Run one way in this process; print the seconds of the preparation and of the whole, and their processor seconds."""
    from cluster.connect import connect, quiet, set_environment
    from cluster.placement import Placement
    from workflows.prepare.preparation import prepare_datasets
    from workflows.recipe.recipe import load_recipe
    from workflows.training.workers import trainer_for

    set_environment()
    connect()
    go = storage / "go"
    go.parent.mkdir(parents=True)

    def fit() -> None:
        with quiet("ray.train.torch"):
            placement = Placement(2, 2, False, 0.01 if way == "beside" else 1.0, "a benchmark")
            trainer_for(begin, {"go": str(go)}, placement, str(storage / "ray")).fit()

    before, started = processor_seconds(), time.perf_counter()
    beside = {"beside": fit, "imports": lambda: importlib.import_module("ray.train.torch")}.get(way)
    thread = threading.Thread(target=beside) if beside else None
    if thread:
        thread.start()
    prepare_datasets(load_recipe(folder / "early.toml"), str(storage / "runs"))
    prepared, used = time.perf_counter() - started, processor_seconds() - before
    go.touch()
    if way != "beside":
        if thread:
            thread.join()
        thread = threading.Thread(target=fit)
        thread.start()
    while len(list(storage.glob("began-*"))) < 2:
        time.sleep(0.02)
    print(prepared, time.perf_counter() - started, used, processor_seconds() - before, flush=True)
    assert thread is not None
    thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        run_way(chosen.one[0], Path(chosen.one[1]), Path(chosen.one[2]))
        return
    rounds_of: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as home:
        write_files(Path(home), chosen.files, chosen.rows)
        for number in range(chosen.rounds):
            for way in (*WAYS[number % 3 :], *WAYS[: number % 3]):
                command = [sys.executable, __file__, "--one", way, home, f"{home}/{way}-{number}"]
                output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
                rounds_of[way].append([float(each) for each in output.split()[-4:]])
    medians = {way: [statistics.median(column) for column in zip(*rounds, strict=True)] for way, rounds in rounds_of.items()}
    rows = []
    for way, (prepared, whole, _, used) in medians.items():
        gain = medians["after"][1] - whole
        rows.append(Row(way, f"{whole:.1f} s", f"prepared after {prepared:.1f} s, {used:.1f} CPU s", f"{gain:+.1f} s"))
    start = medians["after"][3] - medians["after"][2]
    rows.append(Row("processor seconds of the group's start", f"{start:.1f} s"))
    report("early_group", rows, rounds=rounds_of)


if __name__ == "__main__":
    main()
