"""A whole sequence: twelve stations of Beijing, windows every 24 hours, one epoch each, two workers, from prepared data.

    python tests/benchmarks/sequence.py [--data ../shared/data] [--trainers 2] [--workers 2]

Ours: the process of `train`, its start and its evaluation of all twelve after each stage included. Beside it in the same
run: a TorchTrainer for each dataset that hands its checkpoint on, as Ray's examples suggest; it runs on a few stations,
evaluates each on itself alone, and is scaled up: its start once, the mean of a `fit()` twelve times.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import numpy as np
from common.report import Row, report, times


def write_windows(recipe: Path, storage: Path, folder: Path) -> list[str]:
    """Write the windows of each prepared dataset as arrays, for the peer; return the datasets' names."""
    from workflows.prepare.preparation import prepare_datasets
    from workflows.recipe.recipe import load_recipe

    names = []
    for dataset in prepare_datasets(load_recipe(recipe), str(storage)).datasets:
        kept = {}
        for split, prefix in (("train", ""), ("validation", "validation_")):
            batch = dataset.batch(split, np.arange(dataset.num_samples(split)))
            kept |= {f"{prefix}inputs": batch.inputs, f"{prefix}targets": batch.targets.reshape(len(batch.targets), -1)}
        np.savez(folder / f"{dataset.name}.npz", **kept)
        names.append(dataset.name)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--trainers", type=int, default=2, help="stations that the peer is run on")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    if not (chosen.data / "beijing").is_dir():
        raise SystemExit(f"there is no folder {chosen.data}/beijing: --data names the folder that holds it")
    with tempfile.TemporaryDirectory() as home:
        text = (ROOT / "workflows" / "recipe" / "built_in" / "beijing.toml").read_text()
        text = text.replace("../../../../shared/data", str(chosen.data.resolve()))
        text = re.sub(r"^stride = \d+$", "stride = 24", text, flags=re.MULTILINE)
        recipe, storage = Path(home) / "beijing.toml", Path(home) / "runs"
        recipe.write_text(text)

        def command(*words: str) -> float:
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            return time.perf_counter() - started

        command("-m", "workflows", "prepare", str(recipe), "--storage", str(storage))
        names = write_windows(recipe, storage, Path(home))
        workers = ("--workers", str(chosen.workers))
        train_seconds = command("-m", "workflows", "train", str(recipe), "--storage", str(storage), *workers)
        spent = json.loads((storage / "runs" / "beijing" / "result.json").read_text())["seconds"]
        script = str(Path(__file__).parent / "common" / "trainer_each.py")
        some = names[: chosen.trainers]
        started = time.perf_counter()
        peer = subprocess.run(
            [sys.executable, script, home, str(chosen.workers), *some], check=True, capture_output=True, text=True
        )
        whole = time.perf_counter() - started
        fits = json.loads(peer.stdout.strip().splitlines()[-1])
    scaled = whole - sum(fits) + len(names) * statistics.mean(fits)
    fixed = train_seconds - spent["fit"] - spent["evaluate"]
    rows = [
        times(
            "twelve stations in sequence, two workers, whole process", train_seconds, scaled, 6, "s", "a TorchTrainer each"
        ),
        Row("of that all but fitting and measuring, once", f"{fixed:.1f} s", "", "", "20 s", fixed < 20),
    ]
    figures = {"ours": spent, "whole_seconds": train_seconds, "trainer_fits": fits, "trainers_whole": whole}
    report("sequence", rows, **figures, datasets=len(names))


if __name__ == "__main__":
    main()
