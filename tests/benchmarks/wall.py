"""Windows a second of the fit by the clock, as its users run it: with the threads that `train` chooses on this machine.

    python tests/benchmarks/wall.py [--rounds 5]

ETTh1, 96 hours in, the next 24 of all 7 columns out, LSTM of 64. Beside it, each alone in turn, a plain torch loop with its
default threads in a separate process. The figures are meaningful only on a machine that does nothing else; the result
therefore has the load. Then how much a second thread helps models of 64, 256 and 512 units.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from common.report import Row, report, times
from common.streams import ett
from fit import Ours, Peer, clocked

from cluster.placement import ComputeSettings, Placement
from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.calibration import seconds_a_step
from workflows.fit.group import Group
from workflows.fit.lanes import HostLane
from workflows.fit.learner import Learner
from workflows.recipe.settings import TrainingSettings
from workflows.relay.plan import make_plan
from workflows.training.cores import with_cores

KINDS = {
    (32, "float32"): 1.1, (64, "float32"): 1.1, (256, "float32"): 1.6, (64, "bfloat16"): 1.8, (256, "bfloat16"): 1.8
}  # fmt: skip
EPOCHS = 20  # of the run whose cores are chosen


def placement_of(dataset: EncodedDataset, batch: int, precision: str, cores: int) -> Placement:
    """Return the placement that `train` without --workers chooses for a run over this dataset."""
    training = TrainingSettings.model_validate({"batch_size": batch, "precision": precision})
    plan = make_plan(0, ModelSettings(), training, [dataset], [EPOCHS])
    return with_cores(Placement(0, 0, False, 1.0, ""), ComputeSettings(num_workers=0), plan, [dataset], cores)


def second_thread(dataset: EncodedDataset, hidden: int, batch: int) -> tuple[float, float]:
    """Return the seconds of a step with one thread and with two."""
    torch.manual_seed(0)
    model, training = ModelSettings(hidden_size=hidden), TrainingSettings(batch_size=batch)

    def learner(threads: int) -> Learner:
        return Learner(LSTM(model, 7, 168), model, training, Group(), lane=HostLane(torch.device("cpu"), threads))

    one, two = seconds_a_step(learner, dataset, [(1, batch), (2, batch)])
    return one, two


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    cores = os.cpu_count() or 1
    os.environ["LSTM_RELAY_CACHE"] = tempfile.mkdtemp()  # empty, so that no earlier measurement of a busy machine counts
    load, rows = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as home:
        dataset = ett(Path(home), chosen.data).datasets[0]
        count = dataset.num_samples("train")
        windows = dataset.batch("train", np.arange(count))
        windows_file = Path(home) / "windows.npz"
        np.savez(windows_file, inputs=windows.inputs, targets=windows.targets.reshape(count, -1))
        peer = Peer(sys.executable, "torch_fit.py", windows_file, cores)
        placed = {kind: placement_of(dataset, *kind, cores) for kind in KINDS}
        ours = {kind: Ours(dataset, *kind, count, int(placed[kind].cpus)) for kind in KINDS}
        torch.set_num_threads(1)  # as in `train`: the fit starts threads itself
        took: dict[object, list[float]] = {}
        for number in range(chosen.rounds + 1):  # the first round warms up
            for kind in KINDS:
                took.setdefault(kind, []).extend([clocked(ours[kind].epoch)["seconds"]] if number else [])
            for batch in sorted({batch for batch, _ in KINDS}):
                took.setdefault(batch, []).extend([peer.epoch(batch)["seconds"]] if number else [])
        peer.close()
        worth = {(h, b): second_thread(dataset, h, b) for h in (64, 256, 512) for b in (32, 64, 256)}
    rate = {kind: count / statistics.median(seconds) for kind, seconds in took.items()}
    for (batch, precision), wanted in KINDS.items():
        what = f"fit by the clock, {cores} cores, batches of {batch}, {precision}: windows a second"
        rows.append(times(what, rate[batch, precision], rate[batch], wanted, "/s", "torch, its default threads"))
    for (hidden, batch), (one, two) in worth.items():
        what = f"a step with two threads, hidden {hidden}, batches of {batch}"
        rows.append(Row(what, f"{1000 * two:.1f} ms", f"one thread: {1000 * one:.1f} ms", f"{one / two:.2f} x"))
    reasons = {f"{batch} {precision}": placement.reason for (batch, precision), placement in placed.items()}
    rates = {str(kind): windows for kind, windows in rate.items()}
    report("wall", rows, load_before=load, cores=cores, chosen=reasons, windows_a_second=rates)


if __name__ == "__main__":
    main()
