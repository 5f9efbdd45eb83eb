"""What a cluster has, node by node, and what it may grow to: plain values, so that placement is decided without Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What a cluster's autoscaler may bring it to, as the cluster's YAML says where Ray itself does not know.
GROWS_TO = {"CPU": "LSTM_RELAY_GROWS_TO_CPUS", "GPU": "LSTM_RELAY_GROWS_TO_GPUS"}


@dataclass(frozen=True)
class Node:
    """A machine of a cluster, and its cores and GPUs (all of them, or those that are free)."""

    name: str
    cores: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Capacity:
    """The nodes of a cluster that are alive, and the cores and GPUs that it may grow to (0: it does not grow)."""

    nodes: tuple[Node, ...]
    grows_to_cores: int = 0
    grows_to_gpus: int = 0

    @property
    def grows(self) -> bool:
        """Return whether machines may be added that are not there yet."""
        return self.grows_to_cores > self.cores_there or self.grows_to_gpus > self.gpus_there

    @property
    def cores_there(self) -> int:
        """Return the cores of the nodes that are alive."""
        return int(sum(node.cores for node in self.nodes))

    @property
    def gpus_there(self) -> int:
        """Return the GPUs of the nodes that are alive."""
        return int(sum(node.gpus for node in self.nodes))

    @property
    def cores(self) -> int:
        """Return the cores that are there or may be added."""
        return max(self.cores_there, self.grows_to_cores)

    @property
    def gpus(self) -> int:
        """Return the GPUs that are there or may be added."""
        return max(self.gpus_there, self.grows_to_gpus)

    def grown(self) -> tuple[Node, ...]:
        """The nodes, and those that may be added: how large they are is not known, so each is taken as a small one."""
        more_cores, more_gpus = self.cores - self.cores_there, self.gpus - self.gpus_there
        if more_gpus:
            added = [Node("to be added", float(max(more_cores // more_gpus, 1)), 1.0)] * more_gpus
        else:
            added = [Node("to be added", 1.0)] * more_cores
        return (*self.nodes, *added)

    def totals(self) -> dict[str, float]:
        """Cores and GPUs that are there or may be added, by Ray's names."""
        return {"CPU": float(self.cores), "GPU": float(self.gpus)}

    def words(self) -> str:
        """Return the cores of each node, as a message shows them."""
        shown = [f"{node.name} {node.cores:g}" for node in self.nodes if node.cores or node.gpus][:8]
        more = len([node for node in self.nodes if node.cores or node.gpus]) - len(shown)
        return (", ".join(shown) or "none") + (f" and {more} more nodes" if more > 0 else "")


def one_node(cores: float, gpus: float = 0.0) -> Capacity:
    """Return the capacity of a single machine."""
    return Capacity((Node("this machine", cores, gpus),))


def room_for(nodes: Sequence[Node], cpus: float, gpus: float = 0.0) -> int:
    """How many workers of this size fit on the nodes: a worker is on one node, so fractions of two nodes do not add up."""
    total = 0
    for node in nodes:
        fits = math.floor(node.cores / cpus + 1e-9) if cpus else 1 << 20
        total += min(fits, math.floor(node.gpus / gpus + 1e-9)) if gpus else fits
    return total


def capacity_of(nodes: Sequence[Mapping[str, Any]], environment: Mapping[str, str], known: Mapping[str, float]) -> Capacity:
    """The capacity that `ray.nodes()` describes; `known` is what Ray's autoscaler says that the cluster may grow to."""
    there = tuple(
        Node(name_of(node), float(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0)))
        for node in nodes
        if node["Alive"]
    )
    limits = {kind: environment.get(name, "") for kind, name in GROWS_TO.items()}
    most = {kind: int(text) if text.isdigit() else int(known.get(kind, 0)) for kind, text in limits.items()}
    return Capacity(there, most["CPU"], most["GPU"])


def name_of(node: Mapping[str, Any]) -> str:
    """Return what a person calls a node: its hostname and its address."""
    host, address = str(node.get("NodeManagerHostname") or ""), str(node.get("NodeManagerAddress") or "")
    return f"{host} ({address})" if host and host != address else address
