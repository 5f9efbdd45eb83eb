"""Trials that share a GPU: walks over two datasets in processes of their own, as a search's actors are."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from common.streams import ETT_COLUMNS, prepared_in
from data.prepared.encoding import EncodedDataset
from data.reading.settings import DatasetSource, DataSettings
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.learner import Learner
from workflows.recipe.settings import TrainingSettings
from workflows.relay.plan import make_plan
from workflows.relay.walk import Walker
from workflows.store.store import Store

LOOKBACK, HORIZON = 96, 24
DEVICE = torch.device("cuda")


def datasets_in(home: Path, data: Path) -> list[EncodedDataset]:
    """Prepare ETTh1 and ETTh2, with a window every hour."""
    split = {"validation": "2017-06-26", "test": "2017-10-24", "end": "2018-02-21"}
    settings = DataSettings(
        time="date", features=ETT_COLUMNS, targets=ETT_COLUMNS, frequency="1h", lookback=LOOKBACK, horizon=HORIZON,
        split=split,
    )  # fmt: skip
    names = ("ETTh1", "ETTh2")
    return prepared_in([DatasetSource(name, (str(data / "ett" / f"{name}.csv"),), settings) for name in names], home)


def walk_trials(home: str, data: str, numbers: list[int], ready: Any, go: Any, spent: Any) -> None:
    """Walk one trial after the other, each with a rate of its own, on a store that all processes share."""
    torch.set_num_threads(1)
    datasets = datasets_in(Path(home), Path(data))
    torch.zeros(1, device=DEVICE)
    walk_trial(datasets, Path(home) / "warm", 1000 + numbers[0])
    ready.put(numbers[0])
    seconds = {}
    for owner, name in ((Learner, "fit_epoch"), (Learner, "evaluate_all"), (Store, "commit")):
        timed(owner, name, seconds)
    go.wait()
    started = time.perf_counter()
    for number in numbers:
        walk_trial(datasets, Path(home) / "store", number)
    spent.put({**seconds, "all": time.perf_counter() - started, "trials": len(numbers)})


def timed(owner: Any, name: str, seconds: dict[str, float]) -> None:
    """Replace a method by one that adds up its seconds."""
    inner, seconds[name] = getattr(owner, name), 0.0

    def outer(*args: Any, **keys: Any) -> Any:
        started = time.perf_counter()
        try:
            return inner(*args, **keys)
        finally:
            seconds[name] += time.perf_counter() - started

    setattr(owner, name, outer)


def walk_trial(datasets: list[EncodedDataset], store: Path, number: int) -> None:
    """Train two datasets, an epoch of each in batches of 32: 534 steps."""
    training = TrainingSettings(batch_size=32, learning_rate=1e-3 * (1 + number / 100))
    plan = make_plan(0, ModelSettings(), training, datasets, [1, 1])
    store.mkdir(parents=True, exist_ok=True)
    Walker(plan, datasets, Store(str(store)), Group(), lambda event: None, "cuda").walk()


def trials_a_second(home: Path, data: Path, at_a_time: int, num_trials: int) -> float:
    """Return trials a second with so many processes at a time.

    Their start is not counted, as a search's actors stay from trial to trial.
    """
    context = multiprocessing.get_context("spawn")
    ready, go, spent = context.Queue(), context.Event(), context.Queue()
    for folder in ("store", "warm"):
        shutil.rmtree(home / folder, ignore_errors=True)
    shares = [list(range(first, num_trials, at_a_time)) for first in range(at_a_time)]
    processes = [
        context.Process(target=walk_trials, args=(str(home), str(data), share, ready, go, spent)) for share in shares
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.get(timeout=120)
    started = time.perf_counter()
    go.set()
    parts = [spent.get(timeout=120) for _ in processes]
    took = time.perf_counter() - started  # before the processes end, as a search's actors stay from trial to trial
    for process in processes:
        process.join()
    assert all(process.exitcode == 0 for process in processes)
    a_trial = {name: round(sum(each[name] for each in parts) / num_trials, 4) for name in parts[0]}
    print(at_a_time, "at a time, seconds a trial:", a_trial, flush=True)
    return num_trials / took
