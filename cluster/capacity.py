"""The cores and GPUs of each node and the limits of the autoscaler: plain values, so placement is decided without Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Environment variables with the autoscaler's limits: the cluster's YAML sets them where Ray does not report the limits.
GROWS_TO = {"CPU": "LSTM_RELAY_GROWS_TO_CPUS", "GPU": "LSTM_RELAY_GROWS_TO_GPUS"}


@dataclass(frozen=True)
class Node:
    """A machine of a cluster with its cores and GPUs (all, or only the free ones)."""

    name: str
    cores: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Capacity:
    """The living nodes of a cluster, and the cores and GPUs that its autoscaler may reach (0: no autoscaler)."""

    nodes: tuple[Node, ...]
    grows_to_cores: int = 0
    grows_to_gpus: int = 0

    @property
    def grows(self) -> bool:
        """Return whether the autoscaler may add machines."""
        return self.grows_to_cores > self.cores_now or self.grows_to_gpus > self.gpus_now

    @property
    def cores_now(self) -> int:
        """Return the cores of the living nodes."""
        return int(sum(node.cores for node in self.nodes))

    @property
    def gpus_now(self) -> int:
        """Return the GPUs of the living nodes."""
        return int(sum(node.gpus for node in self.nodes))

    @property
    def cores(self) -> int:
        """Return the cores that exist or may be added."""
        return max(self.cores_now, self.grows_to_cores)

    @property
    def gpus(self) -> int:
        """Return the GPUs that exist or may be added."""
        return max(self.gpus_now, self.grows_to_gpus)

    def grown(self) -> tuple[Node, ...]:
        """Return the nodes and those that may be added; their size is unknown, so each counts as a small one."""
        more_cores, more_gpus = self.cores - self.cores_now, self.gpus - self.gpus_now
        if more_gpus:
            added = [Node("to be added", float(max(more_cores // more_gpus, 1)), 1.0)] * more_gpus
        else:
            added = [Node("to be added", 1.0)] * more_cores
        return (*self.nodes, *added)

    def totals(self) -> dict[str, float]:
        """Return the cores and GPUs that exist or may be added, under Ray's names."""
        return {"CPU": float(self.cores), "GPU": float(self.gpus)}

    def words(self) -> str:
        """Return the cores of each node for a message."""
        shown = [f"{node.name} {node.cores:g}" for node in self.nodes if node.cores or node.gpus][:8]
        more = len([node for node in self.nodes if node.cores or node.gpus]) - len(shown)
        return (", ".join(shown) or "none") + (f" and {more} more nodes" if more > 0 else "")


def one_node(cores: float, gpus: float = 0.0) -> Capacity:
    """Return the capacity of a single machine."""
    return Capacity((Node("this machine", cores, gpus),))


def room_for(nodes: Sequence[Node], cpus: float, gpus: float = 0.0) -> int:
    """Return how many workers of this size fit; a worker runs on one node, so fractions of two nodes do not add up."""
    total = 0
    for node in nodes:
        fits = math.floor(node.cores / cpus + 1e-9) if cpus else 1 << 20
        total += min(fits, math.floor(node.gpus / gpus + 1e-9)) if gpus else fits
    return total


def capacity_of(nodes: Sequence[Mapping[str, Any]], environment: Mapping[str, str], known: Mapping[str, float]) -> Capacity:
    """Return the capacity from `ray.nodes()`; `known` are the limits that Ray's autoscaler reports."""
    living = tuple(
        Node(name_of(node), float(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0)))
        for node in nodes
        if node["Alive"]
    )
    limits = {kind: environment.get(name, "") for kind, name in GROWS_TO.items()}
    most = {kind: int(text) if text.isdigit() else int(known.get(kind, 0)) for kind, text in limits.items()}
    return Capacity(living, most["CPU"], most["GPU"])


def name_of(node: Mapping[str, Any]) -> str:
    """Return a node's hostname and address for messages."""
    host, address = str(node.get("NodeManagerHostname") or ""), str(node.get("NodeManagerAddress") or "")
    return f"{host} ({address})" if host and host != address else address
