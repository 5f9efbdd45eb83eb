"""A thousand datasets, a hundred nodes, on paper: python tests/benchmarks/scale.py [--datasets 1000] [--nodes 100] ...

Measures what one dataset, one epoch, one commit, one evaluation and one look-up cost on this machine (small ones: the
constants are per sample or per file), then prints what a whole run would cost with them, and which limit it meets first, and
at how many datasets. `--set NAME=SECONDS` replaces a constant by one measured elsewhere; constants that need Ray or the
network are assumed, not measured, and marked so. Writes tests/benchmarks/results/scale.json.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from common.report import Row, report

# Not measured here. Ray: 2 cores, Ray 2.60. The network: the usual figures of a data centre and an object store.
ASSUMED = {
    "ray_start_seconds": (13.0, "Ray, its workers and their imports; 2 cores, Ray 2.60"),
    "ray_data_seconds": (1.2, "the first execution of Ray Data; 2 cores, Ray 2.60"),
    "worker_start_seconds": (0.05, "one more worker of a group, once its node runs"),
    "actor_call_seconds": (0.001, "one call of an actor: an event, a trial's report"),
    "object_request_seconds": (0.03, "one request to an object store"),
    "object_bytes_a_second": (200e6, "from an object store to a node"),
    "all_reduce_seconds": (0.001, "gloo, one exchange between two workers; log2(workers) of them a step"),
}
WINDOW, FEATURES, HIDDEN, BATCH = 96, 7, 64, 64


def seconds_of(work: Callable[[], Any], times: int = 5) -> float:
    """Return the seconds of the fastest of some runs, which other programs disturb least."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def measure(folder: Path) -> dict[str, float]:
    """Measure the constants of this machine with 24 small datasets."""
    import numpy as np
    import torch
    from helpers import prepare_in_process

    from data.prepared.encoding import EncodedDataset, make_encodings
    from data.prepared.prepared import PreparedDataset
    from data.reading.settings import DatasetSource, DataSettings
    from models.settings import ModelSettings
    from workflows.fit.group import Group
    from workflows.fit.learner import Learner
    from workflows.recipe.settings import TrainingSettings
    from workflows.relay.plan import make_plan
    from workflows.relay.state import first_model, state_of
    from workflows.store.kept import EpochRecord, Errors
    from workflows.store.store import Store

    torch.set_num_threads(1)
    columns = [f"x{number}" for number in range(FEATURES)]
    settings = DataSettings(features=columns, targets=columns[:1], lookback=WINDOW, horizon=24)

    def sources(count: int, rows: int) -> list[DatasetSource]:
        made_sources = []
        for number in range(count):
            path = folder / f"{rows}-{number}.csv"
            values = np.random.default_rng(number).normal(size=(rows, FEATURES))
            np.savetxt(path, values, "%.4f", ",", header=",".join(columns), comments="")
            made_sources.append(DatasetSource(path.stem, (str(path),), settings))
        return made_sources

    made = {(count, rows): sources(count, rows) for count, rows in ((24, 700), (1, 40_000))}
    seconds, datasets = {}, {}
    for (count, rows), each in made.items():
        started = time.perf_counter()
        datasets[rows] = prepare_in_process(each, folder / f"prepared-{rows}")
        seconds[rows] = (time.perf_counter() - started) / count
    row = max(seconds[40_000] - seconds[700], 0.0) / (40_000 - 700)
    small, large = datasets[700], datasets[40_000][0]
    plan = make_plan(0, ModelSettings(hidden_size=HIDDEN), TrainingSettings(batch_size=BATCH), small, [1] * len(small))
    learner = Learner(first_model(plan), plan.model, plan.training, Group())
    train, check = small[0].num_samples("train"), large.num_samples("validation")
    rates = np.full(-(-train // BATCH), 1e-3)
    fit = seconds_of(lambda: learner.fit_epoch(small[0], rates, (0, 0, 0)), 3)
    evaluate = [seconds_of(lambda each=each: learner.evaluate(each, "validation"), 3) for each in (small[0], large)]  # type: ignore[misc]
    few = small[0].num_samples("validation")
    sample = (evaluate[1] - evaluate[0]) / (check - few)
    store = Store(str(folder / "store"))
    store.storage.create()
    keys = [f"{number:032x}" for number in range(20)]
    started = time.perf_counter()
    for key in keys:
        store.commit(key, state_of(learner), EpochRecord(key, None))
    commit = (time.perf_counter() - started) / len(keys)
    error = Errors(0.5, 100, mse=0.5, mae=0.5, by_target={"mae_units": (1.0,), "rmse_units": (1.0,)})
    store.add_evaluations(keys[0], {f"{number:064x}": error for number in range(1000)})
    size = store.storage.size(f"evaluations/{keys[0]}")
    fresh = Store(store.address)
    look_up = seconds_of(lambda: [Store(store.address).record(key) for key in keys]) / len(keys)
    kept = seconds_of(lambda: fresh.evaluations(keys[0])) / 1000
    maps_before, opened = _maps(), []

    def open_all() -> None:
        for each in small:
            dataset = PreparedDataset(each.prepared.folder)
            (encoding,) = make_encodings([dataset], [settings])
            opened.append(EncodedDataset(dataset, encoding))
            assert opened[-1].prepared.parts

    open_seconds = seconds_of(open_all, 1) / len(small)
    sent = pickle.dumps((plan, [(each.name, each.encoding) for each in small]))
    return {
        "prepare_dataset_seconds": max(seconds[700] - 700 * row, 0.0),
        "prepare_row_seconds": row,
        "open_dataset_seconds": open_seconds,
        "maps_a_dataset": (_maps() - maps_before) / len(small),
        "train_sample_seconds": fit / train,
        "evaluate_dataset_seconds": max(evaluate[0] - few * sample, 0.0),
        "evaluate_sample_seconds": sample,
        "commit_seconds": commit,
        "checkpoint_bytes": float(store.storage.size(f"checkpoints/{keys[1]}")),
        "facts_seconds": look_up,
        "kept_error_seconds": kept,
        "kept_error_bytes": size / 1000,
        "plan_bytes_a_dataset": len(sent) / len(small),
        "row_bytes": 4.0 * FEATURES,
    }


def _maps() -> int:
    path = Path("/proc/self/maps")
    return len(path.read_text().splitlines()) if path.exists() else 0


def cost(constants: dict[str, float], options: argparse.Namespace, evaluations: int | None) -> dict[str, float]:
    """Return the seconds of each part of a run; `evaluations` bounds the datasets that are evaluated a stage."""
    num_datasets, nodes, workers = options.datasets, options.nodes, options.nodes * options.cores
    rows, epochs = options.rows, options.epochs
    train, check = 0.7 * rows, 0.1 * rows
    busy = min(workers, max(options.batch // 32, 1))  # a worker with fewer sequences of a batch only waits
    steps, levels = train / options.batch, max((busy - 1).bit_length(), 0)
    request = 0.0 if nodes == 1 else constants["object_request_seconds"]
    one_evaluation = constants["evaluate_dataset_seconds"] + check * constants["evaluate_sample_seconds"] / busy
    measured = num_measured(num_datasets, evaluations)
    preparing = constants["prepare_dataset_seconds"] + rows * constants["prepare_row_seconds"]
    fetching = 0.0 if nodes == 1 else 4 * request + rows * constants["row_bytes"] / constants["object_bytes_a_second"]
    epoch = train * constants["train_sample_seconds"] / busy + steps * levels * constants["all_reduce_seconds"]
    looking_up = num_datasets * epochs * constants["facts_seconds"] + measured * constants["kept_error_seconds"]
    return {
        "prepare": num_datasets * preparing / min(workers, num_datasets) + constants["ray_data_seconds"],
        "fetch to each node": num_datasets * fetching,
        "start": constants["ray_start_seconds"]
        + busy * constants["worker_start_seconds"]
        + num_datasets * constants["open_dataset_seconds"],
        "fit": num_datasets * epochs * epoch,
        "commit": num_datasets * epochs * (constants["commit_seconds"] + constants["actor_call_seconds"] + 3 * request),
        "measure each epoch": num_datasets * epochs * one_evaluation,
        "measure after each stage": measured * one_evaluation,
        "look up all again": looking_up,
        "search of 100 trials, all found": 100 * looking_up,
    }


def num_measured(n: int, evaluations: int | None) -> int:
    """Return the evaluations of datasets after all stages of a run; see workflows.relay.relay.measured_after."""
    return n * (n + 1) if evaluations is None else 2 * n + (n - 1) * min(evaluations + 3, n)


def limits(
    constants: dict[str, float], options: argparse.Namespace, evaluations: int | None
) -> list[tuple[str, float, float, float]]:
    """Return what a run accumulates: its name, how much it is, the limit, and at how many datasets the limit is met."""
    num_datasets, rows = options.datasets, options.rows
    measured = num_measured(num_datasets, evaluations)
    power = 0.5 if evaluations is None else 1.0
    maps = int(_read("/proc/sys/vm/max_map_count", 65530))
    bounds = [
        ("memory maps of a process", num_datasets * constants["maps_a_dataset"], float(maps), 1.0),
        ("plan sent to each worker, bytes", num_datasets * constants["plan_bytes_a_dataset"], 100e6, 1.0),
        ("errors kept in the storage, bytes", measured * constants["kept_error_bytes"], 10e9, power),
        ("result.json, bytes", 2 * measured * 22.0, 100e6, power),
        ("checkpoints, bytes", num_datasets * options.epochs * constants["checkpoint_bytes"], 1e12, 1.0),
        ("prepared rows, bytes of page cache", num_datasets * rows * constants["row_bytes"], 64e9, 1.0),
        ("workers of a batch of this size", options.nodes * options.cores * 1.0, options.batch / 32, 0.0),
    ]
    return [(name, value, limit, num_datasets * (limit / value) ** each if each and value else float("nan"))
            for (name, value, limit, each) in bounds]  # fmt: skip


def _read(path: str, otherwise: int) -> str:
    return Path(path).read_text() if Path(path).exists() else str(otherwise)


def print_case(constants: dict[str, float], options: argparse.Namespace, evaluations: int | None) -> dict[str, Any]:
    """Print one case and return it."""
    parts = cost(constants, options, evaluations)
    evaluated = "all" if evaluations is None else evaluations
    total = sum(value for name, value in parts.items() if "again" not in name and "search" not in name)
    print(f"\n{options.datasets:,} datasets of {options.rows:,} rows, {options.epochs} epochs each, "
          f"batches of {options.batch}; {options.nodes} nodes of {options.cores} cores; "
          f"training.evaluations = {evaluated}")  # fmt: skip
    for name, value in parts.items():
        print(f"  {name:32s} {value:14,.1f} s  {value / total:6.1%}" if "again" not in name and "search" not in name
              else f"  {name:32s} {value:14,.1f} s")  # fmt: skip
    most = max((value, name) for name, value in parts.items() if "again" not in name and "search" not in name)[1]
    print(f"  takes most: {most}")
    print(f"  {'in all':32s} {total:14,.1f} s = {total / 3600:.1f} h")
    limit_rows = limits(constants, options, evaluations)
    for name, value, limit, at in limit_rows:
        when_met = f"met at {at:,.0f} datasets" if at == at else ("met" if value > limit else "not met")
        print(f"  {name:36s} {value:18,.0f} of {limit:18,.0f}  {when_met}")
    over = [name for name, value, limit, _ in limit_rows if value > limit]
    first = max(((value / limit, name) for name, value, limit, _ in limit_rows))[1]
    print(f"  breaks first: {first}" + (f"; over its limit already: {', '.join(over)}" if over else ""))
    by_name = {name: [value, limit] for name, value, limit, _ in limit_rows}
    return {"seconds": parts, "total_seconds": total, "limits": by_name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("datasets", 1000), ("nodes", 100), ("cores", 8), ("rows", 5000), ("epochs", 5), ("batch", 256)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=SECONDS", help="a constant measured elsewhere")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        constants = {**{name: value for name, (value, _) in ASSUMED.items()}, **measure(Path(folder))}
    constants |= {name: float(value) for name, _, value in (each.partition("=") for each in options.set)}
    print(f"Constants, measured here ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}) unless marked as assumed:")
    for name, value in constants.items():
        print(f"  {name:28s} {value:12.6g}" + (f"  assumed: {ASSUMED[name][1]}" if name in ASSUMED else ""))
    cases = {}
    for nodes in dict.fromkeys((1, options.nodes)):
        for evaluations in (None, 10):
            case = argparse.Namespace(**{**vars(options), "nodes": nodes})
            cases[f"{nodes} nodes, evaluations {evaluations or 'all'}"] = print_case(constants, case, evaluations)
    print()
    report("scale", [result_row(name, case, options) for name, case in cases.items()], constants=constants, cases=cases)


def result_row(name: str, case: dict[str, Any], options: argparse.Namespace) -> Row:
    """Return one case as a row for the README."""
    parts = {value: part for part, value in case["seconds"].items() if "again" not in part and "search" not in part}
    total, most = case["total_seconds"], max(parts)
    what = f"simulated: {options.datasets:,} datasets of {options.rows:,} rows, {options.epochs} epochs each, {name}"
    return Row(what, f"{total / 3600:.1f} h", f"most of it: {parts[most]}", f"{most / total:.0%}")


if __name__ == "__main__":
    main()
