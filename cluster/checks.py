"""What is wrong with a cluster: facts are asked of each node, findings are decided from them, each with what to do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cluster.versions import installed_here, node_problems

CLOCK_S = 5.0  # by more than this a node's clock is said to be off
CACHE_BYTES = 5_000_000_000  # with less room for its cache a node can hold few datasets
SLOW_BYTES_A_SECOND = 5_000_000
REDUCE_LIMIT_S = 30


@dataclass(frozen=True)
class Finding:
    """One line of the table: what was checked, where, whether it is as it should be, what was found and what to do."""

    check: str
    where: str
    status: Literal["ok", "warning", "fault"]
    found: str
    todo: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as it travels in a job's log."""
        return {key: str(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself: its packages, its clock when it answered, the room for its cache, and its GPUs."""

    versions: Mapping[str, str | None]
    clock: float
    cache: str
    cache_bytes: int
    gpus: int


def facts_of_node(packages: Sequence[str], cache: str) -> NodeReport:
    """Ask this machine; `cache` is the folder of its cache, ~ and all."""
    folder = Path(cache).expanduser()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    gpus = len(list(Path("/proc/driver/nvidia/gpus").iterdir())) if Path("/proc/driver/nvidia/gpus").is_dir() else 0
    return NodeReport(installed_here(packages), time.time(), str(folder), shutil.disk_usage(there).free, gpus)


def check_packages(
    nodes: Mapping[str, NodeReport | str], here: Mapping[str, str | None], needed: Sequence[str]
) -> list[Finding]:
    """Return whether each node has the versions that the run needs."""
    findings = []
    for name, facts in nodes.items():
        known: Mapping[str, Any] = {name: facts if isinstance(facts, str) else facts.versions}
        problems = [text.partition(": ")[2] for text in node_problems(known, here, needed)]
        todo = "install what constraints.txt pins there, or submit with --install"
        if problems:
            findings.append(Finding("packages", name, "fault", "; ".join(problems), todo))
        else:
            findings.append(
                Finding("packages", name, "ok", f"Python {here['python']}, Ray {here['ray']}, torch {here['torch']}")
            )
    return findings


def check_clocks(nodes: Mapping[str, NodeReport | str], asked: float, answered: float) -> list[Finding]:
    """Return whether the clock of each node is between the question and the answer, as the head's clock has them."""
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
    """Return whether each node has room for the prepared rows that it reads."""
    findings = []
    for name, facts in nodes.items():
        if isinstance(facts, str):
            continue
        found = f"{facts.cache_bytes / 1e9:.1f} GB free for {facts.cache}"
        if facts.cache_bytes < CACHE_BYTES:
            todo = "make room, or let LSTM_RELAY_CACHE name a folder on a larger disk"
            findings.append(
                Finding("disk", name, "fault" if facts.cache_bytes < CACHE_BYTES / 10 else "warning", found, todo)
            )
        else:
            findings.append(Finding("disk", name, "ok", found))
    return findings


def check_resources(
    ray_nodes: Sequence[Mapping[str, Any]], nodes: Mapping[str, NodeReport | str], names: Sequence[str]
) -> list[Finding]:
    """Return whether there is a core to work on, and whether Ray and the drivers count the same GPUs."""
    findings = []
    cores = sum(float(node["Resources"].get("CPU", 0)) for node in ray_nodes)
    if cores < 1:
        todo = "start a worker node, or say what the cluster grows to in LSTM_RELAY_GROWS_TO_CPUS on the head"
        findings.append(Finding("cores", "the cluster", "fault", "no node has a core", todo))
    else:
        findings.append(Finding("cores", "the cluster", "ok", f"{cores:g} cores on {len(ray_nodes)} nodes"))
    for node, name in zip(ray_nodes, names, strict=True):
        facts, counted = nodes.get(name), int(node["Resources"].get("GPU", 0))
        if facts is None or isinstance(facts, str) or counted == facts.gpus == 0:
            continue
        if counted > facts.gpus:
            found = f"Ray counts {counted} GPUs, the driver {facts.gpus}"
            findings.append(
                Finding("GPUs", name, "fault", found, "install NVIDIA's driver there, or start Ray with --num-gpus=0")
            )
        elif counted < facts.gpus:
            found = f"Ray counts {counted} GPUs, the driver {facts.gpus}"
            findings.append(
                Finding("GPUs", name, "warning", found, "start Ray there without --num-gpus, or with all of them")
            )
        else:
            findings.append(Finding("GPUs", name, "ok", f"{counted} GPUs"))
    return findings


def check_reduce(times: Mapping[str, float | str]) -> list[Finding]:
    """Whether two workers on two nodes add up their numbers over the network; the time of one sum, or what went wrong."""
    wrong = {name: time for name, time in times.items() if isinstance(time, str)}
    where = " and ".join(times)
    if wrong:
        name, words = next(iter(wrong.items()))
        todo = "open all ports between the nodes; where a node has several networks, set GLOO_SOCKET_IFNAME there"
        return [Finding("all-reduce", where, "fault", f"{name}: {words}", todo)]
    slowest = max(float(time) for time in times.values())
    status: Literal["ok", "warning"] = "ok" if slowest < 0.02 else "warning"
    todo = "" if status == "ok" else "put the nodes into one zone: each step of a fit waits this long for the network"
    return [Finding("all-reduce", where, status, f"{1e3 * slowest:.1f} ms for 25,000 numbers", todo)]


def reduce_once(rank: int, address: str, port: int) -> float:
    """Return the seconds of a sum over two workers, of which this is one, by the interface of the nodes' addresses."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    from cluster.interface import set_interface

    set_interface()
    limit = timedelta(seconds=REDUCE_LIMIT_S)
    dist.init_process_group("gloo", init_method=f"tcp://{address}:{port}", rank=rank, world_size=2, timeout=limit)
    try:
        values = torch.ones(25_000)
        dist.all_reduce(values)  # the first one connects
        started = time.perf_counter()
        for _ in range(20):
            dist.all_reduce(values)
        return (time.perf_counter() - started) / 20
    finally:
        dist.destroy_process_group()
