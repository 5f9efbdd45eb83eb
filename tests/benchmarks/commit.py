"""What committing an epoch costs: a model of a million parameters, on the disk of the current folder.

    python tests/benchmarks/commit.py

Prints the median of 20 commits (serialise, hash, write, sync, rename) against an epoch of one second.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import torch
from common.report import Row, report

from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.recipe.settings import TrainingSettings
from workflows.relay.state import state_of
from workflows.store.kept import EpochRecord
from workflows.store.store import Store


def main() -> None:
    torch.set_num_threads(1)
    settings = ModelSettings(hidden_size=490)
    learner = Learner(LSTM(settings, 7, 24), settings, TrainingSettings(), Group())
    parameters = sum(parameter.numel() for parameter in learner.parameters)
    learner.optimizer.step()  # so that the optimizer has its moments
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = Store(folder)
        seconds = []
        for number in range(20):
            started = time.perf_counter()
            record, _ = store.commit(f"{number:032x}", state_of(learner), EpochRecord(f"{number:032x}", None))
            seconds.append(time.perf_counter() - started)
    result = {
        "parameters": parameters,
        "bytes": sum(file.bytes for file in record.files.values()),
        "median_seconds": statistics.median(seconds),
        "target_seconds": 0.05,
    }
    print(f"{parameters:,} parameters, {result['bytes'] / 1e6:.1f} MB a checkpoint")
    print(f"a commit takes {1000 * result['median_seconds']:.1f} ms (median of {len(seconds)}): ", end="")
    print(f"{result['median_seconds']:.1%} of an epoch of one second, wanted under 5 %")
    share = result["median_seconds"]
    ours = f"{1000 * share:.1f} ms"
    row = Row(f"a commit of {parameters:,} parameters", ours, "an epoch of 1 s", f"{share:.1%}", "5 %", share <= 0.05)
    report("commit", [row], **result)


if __name__ == "__main__":
    main()
