"""What evaluating all datasets after every stage costs, as a share of the fit, and the machine's limit for it.

    python tests/benchmarks/evaluation.py [--data ../shared/data] [--datasets 12 100] [--epochs 5]

Twelve stations of Beijing, windows of every hour. One epoch of one station and one evaluation of its validation and test
windows are timed, in turn, by the processor's seconds of one thread; a sequence of D datasets of E epochs fits D x E such
epochs, and evaluates D validation splits D + 1 times and D test splits once. Also the least that the forward pass can cost:
its multiplications at the speed of a float32 product on this machine.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

import numpy as np
import torch
from common.report import Row, report

from data.prepared.encoding import EncodedDataset, make_encodings
from data.prepared.prepare import prepare
from data.prepared.running import run_here
from data.reading.files import FileNotes
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.recipe.datasets import find_datasets
from workflows.recipe.recipe import load_recipe
from workflows.recipe.settings import TrainingSettings


def station(data: Path, home: Path) -> EncodedDataset:
    """Prepare one station as the recipe beijing.toml does."""
    text = (ROOT / "workflows" / "recipe" / "built_in" / "beijing.toml").read_text()
    text = text.replace("../../../../shared/data", str(data.resolve())).replace("PRSA_Data_*", "PRSA_Data_Tiantan_*")
    text = re.sub(r"^stride = \d+$", "stride = 1", text, flags=re.MULTILINE)
    (home / "one.toml").write_text(text)
    facts = FileNotes(home / "sources")
    sources, _ = find_datasets(load_recipe(home / "one.toml"), facts, home)
    prepared = prepare(sources, home / "prepared", facts, run_here)
    return EncodedDataset(prepared[0], make_encodings(prepared, [source.settings for source in sources])[0])


def processor(work: Callable[[], Any]) -> float:
    """Return the processor's seconds of some work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--datasets", type=int, nargs="+", default=[12, 100])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if not (chosen.data / "beijing").is_dir():
        raise SystemExit(f"there is no folder {chosen.data}/beijing: --data names the folder that holds it")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        dataset = station(chosen.data, Path(home))
        training, model = TrainingSettings(), ModelSettings()
        network = LSTM(model, dataset.num_features, model.num_outputs(1, 24, 0))
        learner = Learner(network, model, training, Group())
        count = {split: dataset.num_samples(split) for split in ("train", "validation", "test")}
        rates = np.full(-(-count["train"] // training.batch_size), 1e-3)
        left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
        took: dict[str, list[float]] = {"fit": [], "validation": [], "test": [], "gather": [], "product": []}
        for number in range(chosen.rounds):
            took["fit"].append(processor(lambda n=number: learner.fit_epoch(dataset, rates, (0, 0, n))))  # type: ignore[misc]
            for split in ("validation", "test"):
                took[split].append(processor(lambda s=split: learner.evaluate(dataset, s)))  # type: ignore[misc]
            pieces = np.array_split(np.arange(count["validation"]), max(count["validation"] // 256, 1))
            took["gather"].append(processor(lambda p=pieces: [dataset.batch("validation", piece) for piece in p]))  # type: ignore[misc]
            took["product"].append(processor(lambda: [left @ right for _ in range(8)]))
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    flops = count["validation"] * 96 * 2 * 4 * 64 * (64 + dataset.num_features)
    least = flops / (8 * 2 * 1024**3 / medians["product"])
    rows = []
    for datasets in chosen.datasets:
        fit = datasets * chosen.epochs * medians["fit"]
        measured = datasets * ((datasets + 1) * medians["validation"] + medians["test"])
        asked = ("15 %", measured <= 0.15 * fit) if datasets <= 12 else ("", None)
        what = f"measuring all {datasets} datasets after each, {chosen.epochs} epochs each"
        rows.append(Row(what, f"{measured:,.0f} s", f"the fit: {fit:,.0f} s", f"{measured / fit:.1%}", *asked))
    a_window = {"fit": 1e6 * medians["fit"] / count["train"], "measure": 1e6 * medians["validation"] / count["validation"]}
    rows.append(
        Row(
            "a window measured",
            f"{a_window['measure']:.0f} us",
            f"fitted: {a_window['fit']:.0f} us; gathered alone: {1e6 * medians['gather'] / count['validation']:.0f} us",
            f"{a_window['measure'] / a_window['fit']:.0%}",
        )
    )
    limit = f"its multiplications at the limit: {1e6 * least / count['validation']:.0f} us"
    share = f"{least / medians['validation']:.0%} of it"
    rows.append(Row("a window measured", f"{a_window['measure']:.0f} us", limit, share))
    report("evaluation", rows, samples=count, features=dataset.num_features, seconds=medians, took=took)


if __name__ == "__main__":
    main()
