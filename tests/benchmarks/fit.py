"""Samples a second of the fit: ETTh1, 96 hours in, the next 24 of all 7 columns out, LSTM of 64, batches of 32 and 256.

    python tests/benchmarks/fit.py [--threads 1] [--rounds 3] [--keras-python /path/to/python] [--quick]

Beside it in the same run, an epoch of each in turn: a plain torch loop with TensorDataset and DataLoader, and Keras
`model.fit` if TensorFlow is installed (in this environment, or in the one that --keras-python names). Times are the median
over the rounds, by the processor's seconds with one thread (so that other programs do not count), else by the clock. Then
the share of the machine's limit: the LSTM's floating-point operations a second, forward and backward, over the whole epoch,
against those of a float32 product of 1024 x 1024 on the same threads in the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from common.report import Row, report, times
from common.streams import ett

from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.lanes import HostLane
from workflows.fit.learner import Learner
from workflows.recipe.settings import TrainingSettings

BATCHES = (32, 256)
LAYER_BATCHES = {32: 32, 128: 256}  # the windows that go through the layer together, and the batch that they are part of
HIDDEN, LOOKBACK, FEATURES = 64, 96, 7
# A multiplication and an addition for each weight and step, once forward, twice backward (for the inputs, for the weights).
FLOPS_A_SAMPLE = 3 * 2 * 4 * HIDDEN * (HIDDEN + FEATURES) * LOOKBACK


class Ours:
    """The project's fit, as `train` calls it in one process."""

    def __init__(self, dataset: EncodedDataset, batch_size: int, precision: str, count: int, threads: int = 1):
        torch.manual_seed(0)
        model = ModelSettings(hidden_size=HIDDEN)
        training = TrainingSettings.model_validate({"batch_size": batch_size, "precision": precision})
        network = LSTM(model, FEATURES, model.num_outputs(FEATURES, 24, 0))
        lane = HostLane(torch.device("cpu"), threads)
        self.learner, self.dataset = Learner(network, model, training, Group(), lane=lane), dataset
        self.steps, self.number = -(-count // batch_size), 0

    def epoch(self) -> float:
        """Train on every window once."""
        self.number += 1
        return self.learner.fit_epoch(self.dataset, np.full(self.steps, 1e-3), (0, 0, self.number)).train_loss

    def error(self) -> float:
        """Return the mean squared error on the validation windows."""
        sums = self.learner.evaluate(self.dataset, "validation")
        return float(sums.of("rmse_units").mean()) / sums.samples


class Peer:
    """A fit in a separate process, which trains one epoch at a time on request."""

    def __init__(self, python: str, script: str, windows: Path, threads: int):
        path = Path(__file__).parent / "common" / script
        self.process = subprocess.Popen(
            [python, str(path), str(windows), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def epoch(self, batch_size: int) -> dict[str, float]:
        """Train an epoch, and return what it took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"batch": batch_size}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, float] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def clocked(work: Callable[[], Any]) -> dict[str, float]:
    """Return the seconds of some work, by the clock and by the processor."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - started, "processor": time.process_time() - used}


def layer_alone(batch_size: int, count: int) -> Callable[[], Any]:
    """Return work: torch's LSTM forward and backward on one batch, `count` windows in all. No fit can be faster."""
    torch.manual_seed(0)
    layer, inputs = torch.nn.LSTM(FEATURES, HIDDEN, batch_first=True), torch.randn(batch_size, LOOKBACK, FEATURES)

    def work() -> None:
        for _ in range(count // batch_size):
            outputs, _ = layer(inputs)
            outputs[:, -1].sum().backward()

    return work


def product() -> Callable[[], Any]:
    """Return work: a float32 product of 1024 x 1024, 8 times."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return lambda: [left @ right for _ in range(8)]


def keras_python(asked: str | None) -> str | None:
    """Return the interpreter that has TensorFlow, or None."""
    if asked is None and importlib.util.find_spec("tensorflow") is None:
        print("without Keras: TensorFlow is not installed here; --keras-python names an interpreter that has it")
        return None
    return asked or sys.executable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keras-python")
    parser.add_argument("--quick", action="store_true", help="one round")
    chosen = parser.parse_args()
    if not (chosen.data / "ett").is_dir():
        raise SystemExit(f"there is no folder {chosen.data}/ett: --data names the folder that holds ett/ETTh1.csv")
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as home:
        dataset = ett(Path(home), chosen.data).datasets[0]
        count = dataset.num_samples("train")
        windows = dataset.batch("train", np.arange(count))
        targets = windows.targets.reshape(count, -1)
        windows_file = Path(home) / "windows.npz"
        np.savez(windows_file, inputs=windows.inputs, targets=targets)
        python = keras_python(chosen.keras_python)
        peers = {"torch": Peer(sys.executable, "torch_fit.py", windows_file, chosen.threads)}
        if python:
            peers["keras"] = Peer(python, "keras_fit.py", windows_file, chosen.threads)
        kinds = [(b, precision) for b in BATCHES for precision in ("float32", "bfloat16")]
        ours = {kind: Ours(dataset, *kind, count) for kind in kinds}
        took: dict[str, list[dict[str, float]]] = {}
        limit = product()
        layers = {size: layer_alone(size, count) for size in LAYER_BATCHES}
        for number in range(2 if chosen.quick else chosen.rounds + 1):  # the first round warms up
            round_times = {"product": clocked(limit)}
            round_times |= {f"ours {precision} {b}": clocked(ours[b, precision].epoch) for b, precision in kinds}
            round_times |= {f"layer {size}": clocked(work) for size, work in layers.items()}
            round_times |= {f"{name} {b}": peer.epoch(b) for name, peer in peers.items() for b in BATCHES}
            for name, seconds in round_times.items():
                took.setdefault(name, []).extend([seconds] if number else [])
        for peer in peers.values():
            peer.close()
        errors = {f"{precision} {b}": ours[b, precision].error() for b, precision in kinds}
    by = "processor" if chosen.threads == 1 else "seconds"
    rate = {name: count / statistics.median(each[by] for each in rounds) for name, rounds in took.items()}
    product_flops = 8 * 2 * 1024**3 * rate["product"] / count
    rows = []
    for b in BATCHES:
        what = f"fit, batches of {b}"
        ours_rate = rate[f"ours float32 {b}"]
        rows.append(times(f"{what}, float32: windows a second", ours_rate, rate[f"torch {b}"], 1.5, "/s", "torch"))
        if python:
            wanted = 3.0 if b == 32 else 1.4
            rows.append(times(f"{what}, float32: windows a second", ours_rate, rate[f"keras {b}"], wanted, "/s", "Keras"))
    rows.append(times("fit, batches of 256, bfloat16", rate["ours bfloat16 256"], rate["torch 256"], 2, "/s", "torch"))
    for size, b in LAYER_BATCHES.items():
        alone, peer = rate[f"layer {size}"], rate[f"torch {b}"]
        what = f"torch's LSTM layer alone, float32, {size} windows together"
        share = f"{alone * FLOPS_A_SAMPLE / product_flops:.0%} of the product's operations"
        rows.append(Row(what, f"{alone:,.0f} /s", f"torch's loop at {b}: {peer:,.0f} /s", f"{alone / peer:.2f} x, {share}"))
    off = abs(errors["bfloat16 256"] / errors["float32 256"] - 1)
    precise = f"float32: {errors['float32 256']:.4f}"
    rows.append(
        Row("its validation error", f"{errors['bfloat16 256']:.4f}", precise, f"{off:.2%} apart", "1 %", off <= 0.01)
    )
    for b, precision in kinds:
        flops = rate[f"ours {precision} {b}"] * FLOPS_A_SAMPLE
        share = flops / product_flops
        beside = f"1024 x 1024 product: {product_flops / 1e9:.0f} GFLOP/s"
        asked = ("70 %", share >= 0.7) if precision == "float32" else ("", None)
        what = f"the LSTM's operations, end to end, batches of {b}, {precision}"
        rows.append(Row(what, f"{flops / 1e9:.0f} GFLOP/s", beside, f"{share:.0%}", *asked))
    report("fit", rows, windows=count, threads=chosen.threads, clock=by, windows_a_second=rate, errors=errors, took=took)


if __name__ == "__main__":
    main()
