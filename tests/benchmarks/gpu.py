"""Windows a second of the fit on one GPU, and trials of a search that share it. Needs no Ray; about two minutes.

    python tests/benchmarks/gpu.py [--data FOLDER] [--rounds 3] [--only fit,replay,streamed,trials,profile] [--output FILE]

ETTh1, 96 hours in, the next 24 of all 7 columns out; LSTM of 64 and of 256; batches of 32, 256 and 2048. In the same run,
each in turn: the loop of every tutorial (a DataLoader, `.to(device)`, `loss.item()`), a strong loop (windows on the GPU,
indexed on it, no number read), and torch's LSTM layer alone, forward and backward, launched step by step. Times are medians
over the rounds. Trials are walks over two datasets, each in a separate process, like a search's actors.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
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
from common.gpu_trials import DEVICE, HORIZON, LOOKBACK, datasets_in, trials_a_second
from common.report import Row, report, times
from common.streams import ETT_COLUMNS
from common.torch_fit import Forecaster

from cluster.mps import PIPES, find_service, multi_process_service
from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.device_lane import DeviceLane
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay, kept_samples
from workflows.fit.retention import NO_RETENTION, Retention
from workflows.recipe.settings import TrainingSettings

BATCHES, HIDDEN = (32, 256, 2048), (64, 256)
WANTED = {64: (8.0, 6.0, 3.5), 256: (1.8, 2.0, 2.5)}  # times the tutorial's loop
WIDTH = len(ETT_COLUMNS)
SHARE = 0.4
NUM_TRIALS, AT_A_TIME = 32, (1, 8, 12)
Work = Callable[[], Any]


def seconds_of(work: Work, rounds: int) -> float:
    """Return the median seconds of some work, without its first three times: graphs are recorded at the third."""
    for _ in range(3):
        work()
    took = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def ours(
    datasets: list[EncodedDataset],
    batch: int,
    hidden: int,
    precision: str = "float32",
    kept: int = 0,
    heads: bool = False,
    room: int = 1 << 34,
) -> Work:
    """Return work: an epoch of the first dataset, with `kept` samples of the second replayed.

    `heads`: each of the two has a head. `room`: the bytes of the GPU's memory that rows may take.
    """
    torch.manual_seed(0)
    model = ModelSettings(hidden_size=hidden)
    training = TrainingSettings.model_validate({"batch_size": batch, "precision": precision})
    network = LSTM(model, WIDTH, model.num_outputs(WIDTH, HORIZON, 0))
    learner = Learner(network, model, training, Group(), "cuda", DeviceLane(DEVICE, room))
    rates = np.full(-(-datasets[0].num_samples("train") // batch), 1e-3)
    retention = NO_RETENTION
    if kept:
        chosen = kept_samples(datasets[1].num_samples("train"), kept, (0, 0))
        retention = Retention(Replay(datasets[1:], [chosen], SHARE, 0.4))
    if heads:
        learner.have_heads([0, 1])
    number = 0

    def epoch() -> None:
        nonlocal number
        number += 1
        learner.fit_epoch(datasets[0], rates, (0, 1, number), retention=retention, head=1 if heads else None)

    return epoch


def tutorial(inputs: torch.Tensor, targets: torch.Tensor, batch: int, hidden: int) -> Work:
    """Return work: an epoch by the loop of every tutorial."""
    model = Forecaster(WIDTH, targets.shape[1], hidden).to(DEVICE)
    optimizer, loss_of = torch.optim.Adam(model.parameters(), 1e-3), torch.nn.MSELoss()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=batch, shuffle=True)

    def epoch() -> None:
        for x, y in loader:
            x, y = x.to(DEVICE), y.to(DEVICE)
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def strong(inputs: torch.Tensor, targets: torch.Tensor, batch: int, hidden: int) -> Work:
    """Return work: an epoch with the windows on the GPU, indexed on it, and a fused optimizer; no number is read."""
    model = Forecaster(WIDTH, targets.shape[1], hidden).to(DEVICE)
    optimizer, loss_of = torch.optim.Adam(model.parameters(), 1e-3, fused=True), torch.nn.MSELoss()
    x, y = inputs.to(DEVICE), targets.to(DEVICE)

    def epoch() -> None:
        order = torch.randperm(len(x), device=DEVICE)
        for start in range(0, len(x), batch):
            chosen = order[start : start + batch]
            loss = loss_of(model(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def layer(count: int, batch: int, hidden: int) -> Work:
    """Return work: the LSTM layer of torch forward and backward, `count` windows in all."""
    lstm, x = torch.nn.LSTM(WIDTH, hidden, batch_first=True).to(DEVICE), torch.randn(batch, LOOKBACK, WIDTH, device=DEVICE)

    def epoch() -> None:
        for _ in range(max(count // batch, 1)):
            lstm(x)[0][:, -1].sum().backward()

    return epoch


def measure_fit(datasets: list[EncodedDataset], rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """Measure ours beside the others, for each size of model and batch."""
    count = datasets[0].num_samples("train")
    windows = datasets[0].batch("train", np.arange(count))
    inputs, targets = torch.from_numpy(windows.inputs), torch.from_numpy(windows.targets.reshape(count, -1))
    rows, rates = [], {}
    for hidden in HIDDEN:
        for batch, wanted in zip(BATCHES, WANTED[hidden], strict=True):
            works = {
                "ours": ours(datasets, batch, hidden),
                "ours bfloat16": ours(datasets, batch, hidden, "bfloat16"),
                "tutorial": tutorial(inputs, targets, batch, hidden),
                "strong": strong(inputs, targets, batch, hidden),
                "layer": layer(count, batch, hidden),
            }
            measured = {name: round(count / seconds_of(work, rounds)) for name, work in works.items()}
            rates[f"hidden {hidden}, batch {batch}"] = measured
            what = f"fit on a GPU, hidden {hidden}, batches of {batch}: windows a second"
            rows.append(times(what, measured["ours"], measured["tutorial"], wanted, "/s", "tutorial loop"))
            beside = f"strong loop: {measured['strong']:,} /s, the layer alone: {measured['layer']:,} /s"
            rows.append(Row(what, f"{measured['ours']:,} /s", beside, f"{measured['ours'] / measured['strong']:.2f} x"))
            print(hidden, batch, measured, flush=True)
    return rows, {"windows_a_second": rates}


def measure_replay(datasets: list[EncodedDataset], rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """Measure gradient samples a second with replay and without."""
    count, rows, rates = datasets[0].num_samples("train"), [], {}
    for batch in (32, 256):
        plain = count / seconds_of(ours(datasets, batch, 64), rounds)
        replayed = sum(max(round(n * SHARE), 1) for n in [batch] * (count // batch) + [count % batch])
        mixed = (count + replayed) / seconds_of(ours(datasets, batch, 64, kept=2000), rounds)
        with_heads = (count + replayed) / seconds_of(ours(datasets, batch, 64, kept=2000, heads=True), rounds)
        rates[batch] = {"without": plain, "with": mixed, "with heads": with_heads}
        beside, result = f"without: {plain:,.0f} /s", f"{plain / mixed:.2f} x the time"
        what = f"gradient samples a second with replay, batches of {batch}"
        rows.append(Row(what, f"{mixed:,.0f} /s", beside, result, "1.5 x", plain / mixed <= 1.5))
        result = f"{plain / with_heads:.2f} x the time"
        rows.append(Row(f"{what}, a head for each dataset", f"{with_heads:,.0f} /s", beside, result))
    return rows, {"replay": rates}


def measure_streamed(datasets: list[EncodedDataset], rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """Measure rows that do not fit on the GPU, beside rows that do."""
    count, rows, rates = datasets[0].num_samples("train"), [], {}
    for batch in (256, 2048):
        resident, streamed = (count / seconds_of(ours(datasets, batch, 64, room=room), rounds) for room in (1 << 34, 0))
        rates[batch] = {"resident": resident, "streamed": streamed}
        beside = f"rows on the GPU: {resident:,.0f} /s"
        what = f"rows in host memory, batches of {batch}: windows a second"
        rows.append(Row(what, f"{streamed:,.0f} /s", beside, f"{streamed / resident:.2f} x"))
    return rows, {"streamed": rates}


def measure_trials(home: Path, data: Path, at_a_time: list[int]) -> tuple[list[Row], dict[str, Any]]:
    """Measure 32 trials on one GPU, one and several at a time; with NVIDIA's multi-process service, too, if it runs."""
    trial_rates = {str(k): trials_a_second(home, data, k, NUM_TRIALS if k > 1 else NUM_TRIALS // 4) for k in at_a_time}
    print(trial_rates, flush=True)
    with multi_process_service() as folder:
        find_service(folder)
        if folder:
            trial_rates |= {f"{k} with MPS": trials_a_second(home, data, k, NUM_TRIALS) for k in at_a_time[1:]}
    os.environ.pop(PIPES, None)
    best = max((rate, k) for k, rate in trial_rates.items() if k != "1")
    what = f"{NUM_TRIALS} trials of a search on one GPU, {best[1]} at a time: trials an hour"
    print(trial_rates, flush=True)
    row = times(what, 3600 * best[0], 3600 * trial_rates["1"], 4.0, "/h", "one at a time")
    return [row], {"trials_a_second": trial_rates}


def measure_profile(datasets: list[EncodedDataset]) -> tuple[list[Row], dict[str, Any]]:
    """List the kernels that a recorded step consists of."""
    tables = {}
    for batch in (32, 2048):
        work = ours(datasets, batch, 64)
        for _ in range(4):
            work()
        with torch.profiler.profile() as profile:
            work()
            torch.cuda.synchronize()
        tables[batch] = profile.key_averages().table(sort_by="cuda_time_total", row_limit=45, max_name_column_width=90)
    return [], {"profile": tables}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="fit,replay,streamed,trials,profile")
    parser.add_argument("--at-a-time", default=",".join(map(str, AT_A_TIME)), help="of the trials; 1 first")
    parser.add_argument("--output", type=Path, help="also write the figures here, after each part")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here")
    rows: list[Row] = []
    figures: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        datasets = datasets_in(home, chosen.data)
        parts: dict[str, Callable[[], tuple[list[Row], dict[str, Any]]]] = {
            "fit": lambda: measure_fit(datasets, chosen.rounds),
            "replay": lambda: measure_replay(datasets, chosen.rounds),
            "streamed": lambda: measure_streamed(datasets, chosen.rounds),
            "trials": lambda: measure_trials(home, chosen.data.resolve(), [int(k) for k in chosen.at_a_time.split(",")]),
            "profile": lambda: measure_profile(datasets),
        }
        for part in chosen.only.split(","):
            started = time.perf_counter()
            part_rows, part_figures = parts[part]()
            rows += part_rows
            figures |= {**part_figures, f"seconds of {part}": time.perf_counter() - started}
            if chosen.output:
                chosen.output.write_text(json.dumps(figures, indent=1))
    report("gpu", rows, **figures)


if __name__ == "__main__":
    main()
