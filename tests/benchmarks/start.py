"""How long commands take that train nothing: `train` of a finished run, and `--help`.

    python tests/benchmarks/start.py [--rounds 5]

The median of whole processes, by the clock.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from common.report import Row, report
from small import write_small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()

    def run(*command: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "workflows", *command], cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as home:
        recipe = str(write_small(Path(home)))
        train = ("train", recipe, "--storage", f"{home}/runs", "--workers", "0")
        first = run(*train)
        again = [run(*train) for _ in range(chosen.rounds)]
        asked = [run("--help") for _ in range(chosen.rounds)]
    rows = [
        Row(what, f"{statistics.median(some):.2f} s", beside, "", f"{wanted} s", statistics.median(some) <= wanted)
        for what, some, beside, wanted in (
            ("`train` of a finished run", again, f"the run itself: {first:.1f} s", 3.0),
            ("`--help`", asked, "", 0.5),
        )
    ]
    report("start", rows, first_seconds=first, again_seconds=again, help_seconds=asked)


if __name__ == "__main__":
    main()
