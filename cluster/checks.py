"""Checks of a cluster: facts are collected from each node, and pure functions turn them into findings with remedies."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cluster.versions import installed_here, node_problems

CLOCK_S = 5.0  # tolerated difference between a node's clock and the head's
CACHE_BYTES = 5_000_000_000  # a node with less free disk can cache few datasets
SLOW_BYTES_A_SECOND = 5_000_000
REDUCE_LIMIT_S = 30


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table: the check, the place, the status, the observation and the remedy."""

    check: str
    where: str
    status: Literal["ok", "warning", "fault"]
    found: str
    todo: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as it is written to a job's log."""
        return {key: str(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class NodeReport:
    """The facts of one node: packages, clock when it answered, free bytes for its cache, GPUs."""

    versions: Mapping[str, str | None]
    clock: float
    cache: str
    cache_bytes: int
    gpus: int


def facts_of_node(packages: Sequence[str], cache: str) -> NodeReport:
    """Return the facts of this machine; `cache` is its cache folder, `~` is expanded."""
    folder = Path(cache).expanduser()
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    gpus = len(list(Path("/proc/driver/nvidia/gpus").iterdir())) if Path("/proc/driver/nvidia/gpus").is_dir() else 0
    return NodeReport(installed_here(packages), time.time(), str(folder), shutil.disk_usage(existing).free, gpus)


def check_packages(
    nodes: Mapping[str, NodeReport | str], local: Mapping[str, str | None], needed: Sequence[str]
) -> list[Finding]:
    """Check that each node has the versions that the run needs."""
    findings = []
    for name, facts in nodes.items():
        known: Mapping[str, Any] = {name: facts if isinstance(facts, str) else facts.versions}
        problems = [text.partition(": ")[2] for text in node_problems(known, local, needed)]
        todo = "install what constraints.txt pins there, or submit with --install"
        if problems:
            findings.append(Finding("packages", name, "fault", "; ".join(problems), todo))
        else:
            findings.append(
                Finding("packages", name, "ok", f"Python {local['python']}, Ray {local['ray']}, torch {local['torch']}")
            )
    return findings


def check_clocks(nodes: Mapping[str, NodeReport | str], asked: float, answered: float) -> list[Finding]:
    """Check that each node's clock lies between the head's times of asking and of the answer."""
    findings = []
    for name, facts in nodes.items():
        if isinstance(facts, str):
            continue
        off = max(facts.clock - answered, asked - facts.clock, 0.0)
        if off > CLOCK_S:
            words = f"{off:.0f} s {'ahead of' if facts.clock > answered else 'behind'} the head's"
            findings.append(Finding("clock", name, "fault", words, "start chrony or systemd-timesyncd there"))
        else:
            findings.append(Finding("clock", name, "ok", f"within {CLOCK_S:.0f} s of the head's"))
    return findings


def check_caches(nodes: Mapping[str, NodeReport | str]) -> list[Finding]:
    """Check that each node has free disk for its cache of prepared rows."""
    findings = []
    for name, facts in nodes.items():
        if isinstance(facts, str):
            continue
        free_space = f"{facts.cache_bytes / 1e9:.1f} GB free for {facts.cache}"
        if facts.cache_bytes < CACHE_BYTES:
            todo = "free disk space, or set LSTM_RELAY_CACHE to a folder on a larger disk"
            findings.append(
                Finding("disk", name, "fault" if facts.cache_bytes < CACHE_BYTES / 10 else "warning", free_space, todo)
            )
        else:
            findings.append(Finding("disk", name, "ok", free_space))
    return findings


def check_resources(
    ray_nodes: Sequence[Mapping[str, Any]], nodes: Mapping[str, NodeReport | str], names: Sequence[str]
) -> list[Finding]:
    """Check that the cluster has a core, and that Ray and the driver of each node count the same GPUs."""
    findings = []
    cores = sum(float(node["Resources"].get("CPU", 0)) for node in ray_nodes)
    if cores < 1:
        todo = "start a worker node, or set LSTM_RELAY_GROWS_TO_CPUS on the head to the cores that the cluster may grow to"
        findings.append(Finding("cores", "the cluster", "fault", "no node has a core", todo))
    else:
        findings.append(Finding("cores", "the cluster", "ok", f"{cores:g} cores on {len(ray_nodes)} nodes"))
    for node, name in zip(ray_nodes, names, strict=True):
        facts, counted = nodes.get(name), int(node["Resources"].get("GPU", 0))
        if facts is None or isinstance(facts, str) or counted == facts.gpus == 0:
            continue
        if counted > facts.gpus:
            counts = f"Ray counts {counted} GPUs, the driver {facts.gpus}"
            findings.append(
                Finding("GPUs", name, "fault", counts, "install NVIDIA's driver there, or start Ray with --num-gpus=0")
            )
        elif counted < facts.gpus:
            counts = f"Ray counts {counted} GPUs, the driver {facts.gpus}"
            findings.append(
                Finding("GPUs", name, "warning", counts, "start Ray there without --num-gpus, or with all of them")
            )
        else:
            findings.append(Finding("GPUs", name, "ok", f"{counted} GPUs"))
    return findings


def check_reduce(times: Mapping[str, float | str]) -> list[Finding]:
    """Check the all-reduce between two nodes: `times` has its seconds, or the error, of each node."""
    wrong = {name: time for name, time in times.items() if isinstance(time, str)}
    where = " and ".join(times)
    if wrong:
        name, words = next(iter(wrong.items()))
        todo = "open all ports between the nodes; where a node has several networks, set GLOO_SOCKET_IFNAME there"
        return [Finding("all-reduce", where, "fault", f"{name}: {words}", todo)]
    slowest = max(float(time) for time in times.values())
    status: Literal["ok", "warning"] = "ok" if slowest < 0.02 else "warning"
    todo = "" if status == "ok" else "put the nodes into one zone: every training step waits this long for the network"
    return [Finding("all-reduce", where, status, f"{1e3 * slowest:.1f} ms for 25,000 numbers", todo)]


def reduce_once(rank: int, address: str, port: int) -> float:
    """Measure an all-reduce of 25,000 numbers with one other worker; returns seconds."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    from cluster.interface import set_interface

    set_interface()
    limit = timedelta(seconds=REDUCE_LIMIT_S)
    dist.init_process_group("gloo", init_method=f"tcp://{address}:{port}", rank=rank, world_size=2, timeout=limit)
    try:
        values = torch.ones(25_000)
        dist.all_reduce(values)  # the first call connects
        started = time.perf_counter()
        for _ in range(20):
            dist.all_reduce(values)
        return (time.perf_counter() - started) / 20
    finally:
        dist.destroy_process_group()
