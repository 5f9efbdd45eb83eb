"""Two hundred small datasets and twenty: preparing and fitting should take ten times as long, and little more.

    python tests/benchmarks/many.py [--few 20] [--many 200] [--rows 2000]

One `train` of each in a separate process, without workers (Ray prepares): 2,000 rows a dataset, 1 epoch each. Its result has
the seconds of preparing and fitting. The seconds of evaluating all datasets after each stage are printed, too; they
necessarily grow with the square of the number of datasets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

import tomli_w
from common.report import Row, report
from small import small_document, write_machine


def train(home: Path, count: int, rows: int) -> dict[str, Any]:
    """Train over so many datasets; return the seconds in its result and those of the whole process."""
    folder = home / str(count)
    folder.mkdir()
    for number in range(count):
        write_machine(folder / f"machine_{number:03d}.csv", number % 7, rows, seed=number)
    document = small_document(
        data={"lookback": 24, "horizon": 6},
        model={"hidden_size": 16},
        training={"epochs": 1, "batch_size": 32, "decay_rate": 1.0},
    )
    document["datasets"] = [{"name": "{file}", "path": "machine_*.csv"}]
    (folder / "many.toml").write_text(tomli_w.dumps(document))
    started = time.perf_counter()
    command = ["train", str(folder / "many.toml"), "--storage", str(folder / "runs"), "--workers", "0"]
    subprocess.run([sys.executable, "-m", "workflows", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    result = json.loads((folder / "runs" / "runs" / "small" / "result.json").read_text())
    return {"datasets": len(result["datasets"]), "whole": seconds, **result["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=20)
    parser.add_argument("--many", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        few, many = (train(Path(home), count, chosen.rows) for count in (chosen.few, chosen.many))
    wanted = 1.1 * chosen.many / chosen.few
    both = [each["prepare"] + each["fit"] for each in (few, many)]
    ways = [
        ("prepare and fit", *both, f"{wanted:g} x", both[1] <= wanted * both[0]),
        ("prepare", few["prepare"], many["prepare"], "", None),
        ("fit", few["fit"], many["fit"], "", None),
        ("measure all after each", few["evaluate"], many["evaluate"], "", None),
        ("the whole process", few["whole"], many["whole"], "", None),
    ]
    rows = [
        Row(
            f"{many['datasets']} datasets: {what}",
            f"{b:.1f} s",
            f"{few['datasets']} datasets: {a:.1f} s",
            f"{b / a:.1f} x",
            *rest,
        )
        for what, a, b, *rest in ways
    ]
    report("many", rows, few=few, many=many)


if __name__ == "__main__":
    main()
