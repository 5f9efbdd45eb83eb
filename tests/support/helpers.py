"""Helpers that tests share: small datasets, prepared as a run prepares them, and walks over them in one process or more."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import multiprocessing.context
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import torch
import torch.distributed as dist
import torch.multiprocessing

from data.prepared.arrays import check_arrays, write_arrays
from data.prepared.encoding import EncodedDataset, make_encodings
from data.prepared.prepare import prepare
from data.prepared.prepared import PreparedDataset
from data.prepared.running import run_here
from data.reading.files import FileNotes
from data.reading.settings import DatasetSource, DataSettings
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.prepare.preparation import Prepared
from workflows.recipe.datasets import find_datasets
from workflows.recipe.recipe import Recipe
from workflows.recipe.settings import TrainingSettings
from workflows.relay.lookup import finished
from workflows.relay.plan import Plan, make_plan
from workflows.relay.relay import Outcome
from workflows.relay.walk import Report, Walker
from workflows.results.trained import TrainedRun, open_run
from workflows.store.kept import EpochRecord
from workflows.store.store import State, Store
from workflows.training.run import train_prepared

torch.set_num_threads(1)  # threads that share busy cores wait for each other: small steps then take 30 times as long

Sequences = tuple[Sequence[np.ndarray], np.ndarray]  # inputs (steps, features) of each sample, targets (samples, targets)


def random_sequences(
    seed: int, count: int, shortest: int = 6, longest: int = 6, features: int = 3, targets: int = 2
) -> Sequences:
    """Return sequences with the means of their first features as targets, so that there is something to learn."""
    random = np.random.default_rng(seed)
    lengths = random.integers(shortest, longest + 1, count)
    inputs = [random.normal(size=(length, features)).astype(np.float32) for length in lengths]
    return inputs, np.array([each[:, :targets].mean(axis=0) for each in inputs], np.float32)


def prepare_in_process(sources: Sequence[DatasetSource], folder: Path) -> list[EncodedDataset]:
    """Prepare datasets as a run does, but without Ray."""
    prepared = prepare(sources, folder, FileNotes(folder / "sources"), run_here)
    encodings = make_encodings(prepared, [source.settings for source in sources])
    return [EncodedDataset(each, encoding) for each, encoding in zip(prepared, encodings, strict=True)]


def prepare_arrays(
    name: str, inputs: Any, targets: Any, folder: Path, validation: Any = None, scaling: Any = "none"
) -> PreparedDataset:
    """Prepare the dataset of X and y in a subfolder of `folder` that is named by its content."""
    return write_arrays(check_arrays(name, inputs, targets, validation, scaling), folder)


def prepare_sequences(
    datasets: Mapping[str, Sequences], folder: Path, split: Sequence[float] = (1, 0, 0), classes: bool = False
) -> list[EncodedDataset]:
    """Prepare datasets of one sample per sequence from CSV files; samples of a split have the order of the sequences."""
    sources = []
    for name, (inputs, targets) in datasets.items():
        path = folder / f"{name}.csv"
        _write(path, inputs, targets)
        settings = DataSettings(
            time="step",
            series="sequence",
            features=[f"x{column}" for column in range(inputs[0].shape[1])],
            targets=[f"y{column}" for column in range(targets.shape[1])],
            lookback="all",
            horizon=0,
            scaling="none",
            split=list(split),
            split_by="series",
        )
        sources.append(DatasetSource(name, (str(path),), settings, classes=classes))
    return prepare_in_process(sources, folder)


def _write(path: Path, inputs: Sequence[np.ndarray], targets: np.ndarray) -> None:
    lengths = [len(each) for each in inputs]
    number = np.repeat(np.arange(len(inputs)), lengths)
    rows = np.concatenate(inputs)
    columns: dict[str, Any] = {
        "sequence": [f"s{index:05d}" for index in number],
        "step": np.concatenate([np.arange(length) for length in lengths]),
    }
    columns |= {f"x{column}": rows[:, column].astype(np.float64) for column in range(rows.shape[1])}
    columns |= {f"y{column}": targets[number, column].astype(np.float64) for column in range(targets.shape[1])}
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}")  # another worker of the group may be reading the file
    pacsv.write_csv(pa.table(columns), scratch)
    scratch.replace(path)


def train_in_process(recipe: Recipe, storage: Path) -> tuple[Store, TrainedRun]:
    """Train a recipe with 0 workers and without Ray, and open its run."""
    sources, epochs = find_datasets(recipe, FileNotes(storage / "facts"), storage)
    prepared = Prepared(prepare_in_process(sources, storage / "prepared"), sources, epochs, 0.0)
    store = Store(str(storage))
    train_prepared(recipe, prepared, store, recipe.name)
    return store, open_run(store, recipe.name)


def plan_of(
    datasets: Sequence[EncodedDataset], epochs: Sequence[int], model: Mapping[str, Any], seed: int = 0, **training: Any
) -> Plan:
    """Return a plan with these settings and defaults for the others."""
    return make_plan(seed, ModelSettings(**model), TrainingSettings(**training), datasets, list(epochs))


def walk(plan: Plan, datasets: Sequence[EncodedDataset], folder: Path, group: Group | None = None) -> Report:
    """Train and evaluate whatever of the plan the store in the folder lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    return Walker(plan, datasets, Store(str(folder)), group or Group(), lambda event: None).walk()


def outcome(plan: Plan, folder: Path) -> Outcome:
    """Return the outcome of a walked plan, read from the store in the folder."""
    return finished(plan, Store(str(folder)))


def epochs_of(plan: Plan, folder: Path) -> list[EpochRecord]:
    """Return the records of all epochs of a walked plan, in the order of training."""
    return [epoch for stage in outcome(plan, folder).stages for epoch in stage.epochs]


def state_at(key: str, folder: Path) -> State:
    """Return the state of a checkpoint."""
    return Store(str(folder)).load(key)


def weights_hash(key: str, folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights, to compare them bit by bit."""
    record = Store(str(folder)).record(key)
    assert record is not None
    return record.files["model.safetensors"].sha256


def forkserver() -> multiprocessing.context.ForkServerContext:
    """Return a fork server that has imported the slow modules, which saves seconds in each process of a test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pytest", "data.prepared.prepare", "workflows.relay.walk", "workflows.training.run", "ray.train.torch"]
    )
    return context


def run_workers(work: Callable[..., Any], size: int, folder: Path, *args: Any) -> list[Any]:
    """Return what `work(*args)` returns (as JSON) on each of `size` new processes that form a gloo group."""
    folder.mkdir(parents=True, exist_ok=True)
    forkserver()
    torch.multiprocessing.start_processes(_worker, (work, size, folder, args), nprocs=size, start_method="forkserver")
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]


def alone_and_on_workers(
    work: Callable[[str], Any], make_data: Callable[[Path], Any], folder: Path
) -> tuple[Any, list[Any]]:
    """Return what `work(folder)` returns in this process, and what it returns on each of two and of three workers."""
    for size in (1, 2, 3):
        (folder / str(size)).mkdir()
        make_data(folder / str(size))
    alone = work(str(folder / "1"))
    return alone, [
        result for size in (2, 3) for result in run_workers(work, size, folder / f"group{size}", str(folder / str(size)))
    ]


def _worker(rank: int, work: Callable[..., Any], size: int, folder: Path, args: tuple[Any, ...]) -> None:
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    meeting = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    try:
        (folder / f"{rank}.json").write_text(json.dumps(work(*args)))
    finally:
        dist.destroy_process_group()


def processes_that_stay(setting: str, seconds: float = 20) -> list[str]:
    """Return the commands of the processes that still have this NAME=value in their environment after some time."""
    until = time.monotonic() + seconds
    while (commands := _processes_with(setting)) and time.monotonic() < until:
        time.sleep(0.1)
    return commands


def _processes_with(setting: str) -> list[str]:
    commands = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if setting.encode() in (folder / "environ").read_bytes().split(b"\0"):
                commands.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return commands
