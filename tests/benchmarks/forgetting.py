"""What a sequence forgets, with each method and with none, compared with the same model trained on all datasets at once.

    python tests/benchmarks/forgetting.py [--data ../shared/data] [--seeds 3] [--processes 2] [--streams ...] [--kinds ...]

Four streams, in their order and in the reverse, each with several seeds: joint training (the datasets' samples shuffled
together, the same epochs) with one head and with a correction for each dataset, the plain sequence with decay rate 0.8 and
one head, and the sequence with methods of [retention] at their defaults; with replay the streams of numbers use the default
schedule and decay rate, too. For classes also joint training on a tenth of each dataset but the last. "Of plain samples"
compares the samples whose gradients are computed. The share of the plain time is of processor seconds of the fit, with one
thread a process. Writes results/forgetting.json and forgetting.svg.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
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
from common.joint import Joint
from common.streams import Stream, beijing, ett, plants, vowels

from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.fit.replay import Replay
from workflows.fit.sampling import batch_sizes
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay.errors import errors_of
from workflows.relay.events import EpochDone, EpochStarted, RunEvent
from workflows.relay.learning_rate import step_rates
from workflows.relay.lookup import finished
from workflows.relay.metrics import forgetting, naive_error
from workflows.relay.plan import Plan, make_plan
from workflows.relay.state import first_model
from workflows.relay.walk import Walker
from workflows.store.store import Store

FOLDERS = {"ETT": "ett", "vowels": "japanese_vowels", "Beijing": "beijing"}
RESULTS = Path(__file__).parent / "results"
STREAMS: dict[str, Callable[[Path, Path], Stream]] = {
    "plants": lambda home, _: plants(home),
    "ETT": ett,
    "vowels": vowels,
    "Beijing": beijing,
}
# The method of retention and the head of each kind of sequence. STRENGTHS and the rates with replay were chosen on the
# validation splits of seed 100 of plants, ETT and vowels; nothing was chosen on Beijing.
KINDS: dict[str, tuple[str, str | None]] = {
    "plain": ("none", "shared"),
    "l2": ("l2", "shared"),
    "ewc": ("ewc", "shared"),
    "distill": ("distill", "shared"),
    "replay": ("replay", None),
    "replay, one head": ("replay", "shared"),
    "replay, known groups": ("replay", "dataset"),
    "replay, replaced": ("replay", None),
    "replay+distill": ("replay+distill", None),
}
STRENGTHS = {"l2": 0.03}
# With replay the streams of numbers use the defaults, and the speakers what was better on their validation splits.
DEFAULTS = {"schedule": "constant", "decay_rate": 1.0}
OF_CLASSES = {"decay_rate": 0.9}
MEMORY = 0.1  # the share of each earlier dataset in the joint training LEFT

ALL, HEADS, LEFT = "joint", "joint, same heads", "joint of the kept"
JOINT = {ALL: Joint.of_all, HEADS: Joint.of_all, LEFT: Joint.of_what_is_left}


def run(stream: Stream, backwards: bool, kind: str, seed: int, **changes: Any) -> dict[str, Any]:
    """Train once; return the mean errors at the end in units of the naive forecast's, and the cost."""
    torch.set_num_threads(1)
    datasets = stream.datasets[::-1] if backwards else stream.datasets
    method, head = KINDS.get(kind, ("none", "shared"))
    model = ModelSettings.model_validate({**stream.model, **({} if head is None else {"head": head})})
    of_replay = OF_CLASSES if model.classifies else DEFAULTS
    settings = {
        "decay_rate": 0.8,
        **stream.training,
        **(of_replay if "replay" in method else {}),
        **changes.pop("training", {}),
    }
    training = TrainingSettings.model_validate(settings)
    joint = JOINT.get(kind)
    if joint:
        model = model.model_copy(update={"classes": "all"})
    strength = {"strength": STRENGTHS[method]} if method in STRENGTHS else {}
    mix = {"mix": "replaced"} if kind == "replay, replaced" else {}
    retention = RetentionSettings.model_validate({"method": method, **strength, **mix, **changes})
    plan = make_plan(seed, model, training, datasets, [stream.epochs] * len(datasets), retention)
    if joint:
        learner, together = Learner(first_model(plan), model, training, Group()), joint(datasets, MEMORY, seed)
        heads = kind == HEADS
        learner.have_heads(range(len(datasets)) if heads else ())
        started = time.process_time()
        steps = -(-len(together.owner) // training.batch_size)
        rate, schedule, all_steps = training.learning_rate, training.schedule, steps * stream.epochs
        for epoch in range(stream.epochs):
            rates = step_rates(rate, steps, epoch * steps, 0, schedule, all_steps)
            learner.fit_epoch(together, rates, (seed, 0, epoch), head=together.owners if heads else None)  # type: ignore[arg-type]
        seconds, forgotten, samples = time.process_time() - started, None, float(len(together.owner) * stream.epochs)
        ends = {
            split: [
                errors_of(learner.evaluate(d, split, index if heads else None), d, model).error
                for index, d in enumerate(datasets)
            ]
            for split in ("validation", "test")
        }
    else:
        spent = Stopwatch()
        with tempfile.TemporaryDirectory() as folder:
            Walker(plan, datasets, Store(folder), Group(), spent).walk()
            done = finished(plan, Store(folder))
        seconds, samples = spent.seconds, gradient_samples(plan, stream.epochs)
        ends = {"validation": [e.error for e in done.validation[-1] if e], "test": [e.error for e in done.test if e]}
        naive = [naive_error(d, "validation", model.loss) or 1.0 for d in datasets]
        forgotten = forgetting([[e.error / n for e, n in zip(row, naive, strict=True) if e] for row in done.validation])
    scaled = {
        split: statistics.mean(
            error / (naive_error(d, split, model.loss) or 1.0) for error, d in zip(errors, datasets, strict=True)
        )
        for split, errors in ends.items()
    }
    facts = {"stream": stream.name, "backwards": backwards, "method": kind, "seed": seed, "samples": samples}
    return {**facts, **scaled, "errors": ends, "forgetting": forgotten, "seconds": seconds}


def gradient_samples(plan: Plan, epochs: int) -> float:
    """Return the number of samples, new and replayed, that the sequence computes a gradient of."""
    total = 0
    for number, stage in enumerate(plan.stages):
        sizes = batch_sizes(plan.datasets[stage.dataset].samples["train"], plan.training.batch_size)
        old = Replay((), [np.zeros(1, np.int64)] * number, plan.retention.share, 1.0, plan.retention.mix == "replaced")
        drawn = [len(each[1]) for each in old.draw(sizes, (0, 0, 0))] if plan.retention.replays else [0] * len(sizes)
        total += epochs * sum(len(old.new_samples(np.zeros(n), k)) + k for n, k in zip(sizes, drawn, strict=True))
    return float(total)


class Stopwatch:
    """The sum of the processor's seconds between the beginning and the commit of each epoch."""

    def __init__(self) -> None:
        self.seconds = self.begun = 0.0

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, EpochStarted):
            self.begun = time.process_time()
        elif isinstance(event, EpochDone):
            self.seconds += time.process_time() - self.begun


def kinds_of(stream: str) -> list[str]:
    """Return the kinds that run on a stream: with numbers the groups are known, with classes they are or are not."""
    if stream == "vowels":
        return [ALL, HEADS, LEFT, *(kind for kind in KINDS if kind not in ("replay, one head", "replay, replaced"))]
    return [ALL, HEADS, *(kind for kind in KINDS if kind != "replay, known groups")]


OPENED: dict[str, Stream] = {}


def _job(asked: tuple[str, str, str, bool, str, int]) -> dict[str, Any]:
    home, data, stream, backwards, method, seed = asked
    if stream not in OPENED:
        OPENED[stream] = STREAMS[stream](Path(home), Path(data))
    return run(OPENED[stream], backwards, method, seed)


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means of each stream and method over orders and seeds, and their ratios to joint and plain training."""
    table_rows = []
    for stream in dict.fromkeys(row["stream"] for row in rows):
        of_stream = [row for row in rows if row["stream"] == stream]

        def mean(method: str, what: str, of_stream: list[dict[str, Any]] = of_stream) -> float:
            return statistics.mean(row[what] for row in of_stream if row["method"] == method)

        for method in [*JOINT, *KINDS]:
            runs = [row for row in of_stream if row["method"] == method]
            if not runs:
                continue
            table_rows.append(
                {
                    "stream": stream,
                    "method": method,
                    "test": mean(method, "test"),
                    "deviation": statistics.pstdev(row["test"] for row in runs),
                    "of_joint": mean(method, "test") / mean(ALL, "test"),
                    "validation_of_joint": mean(method, "validation") / mean(ALL, "validation"),
                    "forgetting": None if method in JOINT else mean(method, "forgetting"),
                    "of_joint_heads": mean(method, "test") / mean(HEADS, "test"),
                    "of_plain_samples": mean(method, "samples") / mean("plain", "samples"),
                    "of_plain_seconds": mean(method, "seconds") / mean("plain", "seconds"),
                    "right": 1 - statistics.mean(statistics.mean(r["errors"]["test"]) for r in runs)
                    if stream == "vowels"
                    else None,
                }
            )
    return table_rows


def show(summary: list[dict[str, Any]]) -> str:
    """Return the table as text."""
    lines = [
        f"{'stream':8} {'method':21} {'test error':>10} {'+-':>6} {'of joint':>9} {'of its heads':>13} {'forgetting':>11} "
        f"{'of plain samples':>17} {'time':>5} {'right':>6}"
    ]
    for row in summary:
        lost = "-" if row["forgetting"] is None else f"{row['forgetting']:.3f}"
        right = "" if row["right"] is None else f"{row['right']:.1%}"
        lines.append(
            f"{row['stream']:8} {row['method']:21} {row['test']:10.3f} {row['deviation']:6.3f} {row['of_joint']:9.3f} "
            f"{row['of_joint_heads']:13.3f} {lost:>11} {row['of_plain_samples']:17.2f} {row['of_plain_seconds']:5.2f} "
            f"{right:>6}"
        )
    return "\n".join(lines)


def result_rows(summary: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines for the README: replay with its defaults, beside joint and plain training."""
    lines = []
    for stream in dict.fromkeys(row["stream"] for row in summary):
        of_stream = {row["method"]: row for row in summary if row["stream"] == stream}
        best = of_stream["replay"]
        lines.append(
            {
                "what": f"{stream}: what a sequence forgets, with {best['method']}",
                "ours": _shown(best),
                "beside": f"all at once {_shown(of_stream[ALL])}; plain sequence {_shown(of_stream['plain'])}"
                + (f"; all at once, of the kept {_shown(of_stream[LEFT])}" if LEFT in of_stream else ""),
                "result": f"{best['of_joint']:.2f} x all at once, in {best['of_plain_samples']:.2f} x the plain samples",
                "wanted": "1.00 x in 1.3 x",
                "reached": best["of_joint"] <= 1.0,
            }
        )
    return lines


def _shown(row: dict[str, Any]) -> str:
    return f"{row['test']:.3f}" if row["right"] is None else f"{row['right']:.0%} right"


def draw(summary: list[dict[str, Any]], path: Path) -> None:
    """Draw the error relative to joint training by the time relative to the plain sequence, a panel for each stream."""
    from matplotlib.figure import Figure

    streams = list(dict.fromkeys(row["stream"] for row in summary))
    figure = Figure(figsize=(4 * len(streams), 3.6), layout="constrained")
    for axes, stream in zip(figure.subplots(1, len(streams), squeeze=False)[0], streams, strict=True):
        for row in summary:
            if row["stream"] == stream and row["method"] not in JOINT:
                axes.scatter(row["of_plain_seconds"], row["of_joint"], s=30)
                axes.annotate(
                    row["method"], (row["of_plain_seconds"], row["of_joint"]), xytext=(5, 4), textcoords="offset points"
                )
        axes.axhline(1.0, linewidth=0.8, color="0.5")
        axes.set(title=stream, xlabel="time of the plain sequence's", ylabel="test error of joint training's", yscale="log")
        axes.margins(x=0.25, y=0.15)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=[*JOINT, *KINDS])
    parser.add_argument("--streams", nargs="+", default=list(STREAMS), choices=list(STREAMS))
    chosen = parser.parse_args()
    streams = [name for name in chosen.streams if name == "plants" or (chosen.data / FOLDERS[name]).is_dir()]
    if len(streams) < len(chosen.streams):
        print(f"there are no data in {chosen.data} for some of the streams: these are left out")
    with tempfile.TemporaryDirectory() as home:
        for name in streams:  # prepared before the processes that share it begin
            STREAMS[name](Path(home), chosen.data)
        asked = [
            (home, str(chosen.data), stream, backwards, method, seed)
            for stream in streams
            for seed in range(chosen.seeds)
            for backwards in (False, True)
            for method in chosen.kinds or kinds_of(stream)
        ]
        with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
            rows = []
            for row in pool.imap_unordered(_job, asked):
                rows.append(row)
                print(f"{len(rows)}/{len(asked)} {row['stream']} {row['method']} test {row['test']:.3f}", file=sys.stderr)
    summary = table(rows)
    print(show(summary))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "forgetting.json").write_text(
        json.dumps({"rows": result_rows(summary), "summary": summary, "runs": rows}, indent=1)
    )
    draw(summary, RESULTS / "forgetting.svg")


if __name__ == "__main__":
    main()
