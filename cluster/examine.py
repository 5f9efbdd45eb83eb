"""The doctor's job on the cluster: checks every node and prints each finding as a line of the job's log."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from cluster import checks
from cluster.capacity import name_of
from cluster.checks import Finding, NodeReport
from cluster.versions import ask_nodes, installed_here, needed

MARK = "FINDING "  # prefix of a finding's line in the log
CACHE = os.path.join("~", ".cache", "lstm-relay")


def examine() -> Iterator[Finding]:
    """Check every node of the connected cluster."""
    import ray
    from packaging.requirements import Requirement

    requirements = needed()
    packages = sorted({"ray", "torch", *(Requirement(text).name for text in requirements)})
    alive = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    asked = time.time()
    nodes: dict[str, NodeReport | str] = ask_nodes(_facts_here, packages)
    answered = time.time()
    yield from checks.check_resources(alive, nodes, [name_of(node) for node in alive])
    yield from checks.check_packages(nodes, installed_here(packages), requirements)
    yield from checks.check_clocks(nodes, asked, answered)
    yield from checks.check_caches(nodes)
    working = [node for node in alive if float(node["Resources"].get("CPU", 0)) >= 1]
    if len(working) > 1:
        yield from checks.check_reduce(_reduce(working[:2]))


def _facts_here(packages: list[str]) -> NodeReport:
    return checks.facts_of_node(packages, os.environ.get("LSTM_RELAY_CACHE") or CACHE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _reduce(pair: list[Mapping[str, Any]]) -> dict[str, float | str]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def on(node: Mapping[str, Any], task: Any) -> Any:
        return ray.remote(num_cpus=0, max_retries=0)(task).options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        )

    limit_s = 2 * checks.REDUCE_LIMIT_S + 30
    try:
        port = ray.get(on(pair[0], _free_port).remote(), timeout=limit_s)
    except Exception as error:
        return {name_of(pair[0]): _last_line(error)}
    address = str(pair[0]["NodeManagerAddress"])
    answers = {name_of(node): on(node, checks.reduce_once).remote(rank, address, port) for rank, node in enumerate(pair)}
    ray.wait(list(answers.values()), num_returns=len(answers), timeout=limit_s)
    seconds: dict[str, float | str] = {}
    for name, answer in answers.items():
        try:
            seconds[name] = float(ray.get(answer, timeout=0.1))
        except Exception as error:
            seconds[name] = _last_line(error)
    return seconds


def _last_line(error: Exception) -> str:
    from ray.exceptions import GetTimeoutError

    if isinstance(error, GetTimeoutError):
        return "no connection"
    lines = str(error).strip().splitlines()
    return (lines[-1] if lines else type(error).__name__)[:200]


def as_line(finding: Finding) -> str:
    """Return a finding as a line of a log."""
    return MARK + json.dumps(finding.to_json())


def from_log(log: str) -> list[Finding]:
    """Return the findings in a job's log, in order."""
    return [Finding(**json.loads(line.removeprefix(MARK))) for line in log.splitlines() if line.startswith(MARK)]
