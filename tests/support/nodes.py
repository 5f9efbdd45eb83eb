"""Program with three Ray nodes on one machine: data are prepared, a search loses a node, and a run loses one.

The run gets another node while it goes on. Prints the facts of the three parts as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.connect import connect, set_environment
from data.prepared.cache import PreparedCache
from data.prepared.prepared import PreparedDataset
from workflows.prepare.preparation import prepare_datasets
from workflows.recipe.recipe import Recipe, load_recipe
from workflows.relay.events import EpochDone, Placed
from workflows.results.events import Event, TrialLost

Facts = dict[str, Any]


class Nodes:
    """A head without a core, and nodes of one core each with a cache folder for each node.

    A lost node does not answer and counts as dead after 2 s; a slow one has 10 s to answer.
    """

    def __init__(self, folder: Path):
        from ray.cluster_utils import Cluster

        self.folder, self.nodes = folder, list[Any]()
        checks = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": checks})
        self.address = str(self.cluster.address)

    def add(self) -> None:
        """Add a node; only in the main thread, as Ray installs signal handlers when it starts one."""
        cache = {"LSTM_RELAY_CACHE": str(self.folder / f"cache_{len(self.there)}")}
        self.nodes.append(self.cluster.add_node(num_cpus=1, env_vars=cache))

    def wait_for_free_cores(self, count: int) -> None:
        """Wait until finished work has released its cores and Ray knows which nodes exist."""
        import ray

        while ray.available_resources().get("CPU") != count:
            time.sleep(0.05)
        # The actor that tells elastic workers of free cores looks at the nodes every 20 s; a new one looks at once.
        ray.kill(ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator"))

    def lose(self, name: str) -> float:
        """Kill all processes of a node; return the time at which it was lost."""
        lost = next(node for node in self.nodes if node.node_id == name)
        self.cluster.remove_node(lost, allow_graceful=False)
        return time.monotonic()

    def end(self) -> None:
        """Kill everything."""
        for node in self.cluster.list_all_nodes():
            node.kill_all_processes(check_alive=False, allow_graceful=False)


def actors(of_class: str) -> dict[int, str]:
    """Return the node of each living actor of a class, by its process id."""
    import ray

    states = ray._private.state.actors().values()
    return {a["Pid"]: a["Address"]["NodeID"] for a in states if of_class in a["ActorClassName"] and a["State"] == "ALIVE"}


def files_here(address: str, names: list[str]) -> list[list[Any]]:
    """Return the files of prepared datasets that are on this machine, with their sizes."""
    folders = [PreparedCache(address).fetch(name) for name in names]
    return [[str(file), file.stat().st_size] for folder in folders for file in sorted(folder.iterdir())]


def prepare_and_fetch(nodes: Nodes, recipe: Recipe, address: str) -> Facts:
    """Return the files of each prepared dataset that a node has after reading all parts, and those of this process.

    Each node has a cache folder that no other node knows.
    """
    import ray

    def read(names: list[str]) -> list[list[Any]]:
        for name in names:
            for part in PreparedDataset(PreparedCache(address).fetch(name)).parts:
                assert len(part.values)
        return files_here(address, names)

    names = [each.prepared.folder.name for each in prepare_datasets(recipe, address, nodes.address).datasets]
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    tasks = [ray.remote(read).options(scheduling_strategy=strategy(node.node_id, soft=False)) for node in nodes.nodes]
    return {"own": files_here(address, names), "nodes": ray.get([task.remote(names) for task in tasks])}


def lose_a_node_of_a_search(nodes: Nodes, recipe: Recipe, storage: Path) -> Facts:
    """Kill the node that trained the latest epoch: its process is in a trial, most likely in its next epoch."""
    from workflows.search.search import search

    events: list[tuple[Event, float]] = []  # with the time of each
    lost_at, used, result = 0.0, set[str](), Facts()

    def watch(event: Event) -> None:
        events.append((event, time.monotonic()))

    def epochs_done() -> list[tuple[EpochDone, float]]:
        return [(event, at) for event, at in events if isinstance(event, EpochDone)]

    work = in_thread(lambda: result.update(search(recipe, storage, None, None, nodes.address, watch).to_json()))
    started = time.monotonic()
    while work.is_alive():
        epochs = [event for event, _ in epochs_done()]
        pids = [event.pid for event in epochs]
        if not lost_at and len(set(pids)) == 2 and epochs[-1].stage < 2:  # of three: its trial goes on
            node_of = actors("")
            used = {node_of[pid] for pid in pids}
            lost_at = nodes.lose(node_of[pids[-1]])
        work.join(0.02)
    lost, reported_at = next((event, at) for event, at in events if isinstance(event, TrialLost))
    done = epochs_done()
    again = [at for event, at in done if event.trial == lost.number]
    return {
        "nodes": len(used),
        "trials": len(result["trials"]),
        "failed": [trial["failed"] for trial in result["trials"] if "failed" in trial],
        "distinct": result["epochs_distinct"],
        "trained": [event.key for event, _ in done],
        "seconds_until_first_epoch": done[0][1] - started,
        "seconds_until_loss_is_reported": reported_at - lost_at,
        "seconds_until_next_epoch": next(at for _, at in done if at > lost_at) - lost_at,
        "seconds_until_trial_goes_on": next((at for at in again if at > reported_at), time.monotonic()) - lost_at,
    }


def lose_and_add_a_node_of_a_run(nodes: Nodes, recipe: Recipe, storage: Path) -> Facts:
    """Return the number of workers of each epoch, and the seconds until the first epoch and until the next after a loss."""
    import workflows.training.workers
    from workflows.training.run import train

    workflows.training.workers.ELASTIC_INTERVAL_S = 2.0
    times: dict[str, float] = {}
    epochs: list[Facts] = []
    used: set[str] = set()

    def watch(event: Event) -> None:
        if isinstance(event, Placed):
            times["placed"] = time.monotonic()
        elif isinstance(event, EpochDone):
            epochs.append({"workers": event.workers, "at": time.monotonic()})

    work = in_thread(lambda: train(recipe, storage, None, None, nodes.address, watch))
    while work.is_alive():
        if "lost" not in times and [epoch["workers"] for epoch in epochs[-4:]] == [2, 2, 2, 2]:
            used = set(actors("RayTrainWorker").values())
            times["lost"] = nodes.lose(nodes.nodes[-1].node_id)
        elif "lost" in times and "added" not in times and epochs[-1]["workers"] == 1:
            nodes.add()
            times["added"] = time.monotonic()
        elif "added" in times and [epoch["workers"] for epoch in epochs[-3:]] == [2, 2, 2]:
            break  # all has been seen; the run would go on for long
        work.join(0.05)
    goes_on = next(epoch["at"] for epoch in epochs if epoch["at"] > times["lost"]) - times["lost"]
    return {
        "nodes": len(used),
        "before": [epoch["workers"] for epoch in epochs if epoch["at"] < times["lost"]],
        "after": [epoch["workers"] for epoch in epochs if epoch["at"] > times["lost"]],
        "seconds_until_first_epoch": epochs[0]["at"] - times["placed"],
        "seconds_until_work_goes_on": goes_on,
    }


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Start a thread that may outlive its use."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def main(searched: Path, trained: Path, storage: Path, remote: str) -> None:
    set_environment()
    started = time.monotonic()
    nodes, facts_by_part = Nodes(storage), Facts()

    def tell(what: str, facts: Facts) -> None:
        facts_by_part[what] = {**facts, "seconds": time.monotonic() - started}

    nodes.add()
    nodes.add()
    connect(nodes.address)
    if remote:
        tell("prepared", prepare_and_fetch(nodes, load_recipe(searched), remote))
    tell("search", lose_a_node_of_a_search(nodes, load_recipe(searched), storage))
    nodes.add()
    nodes.wait_for_free_cores(2)
    tell("run", lose_and_add_a_node_of_a_run(nodes, load_recipe(trained), storage))
    print(json.dumps(facts_by_part), flush=True)
    nodes.end()
    os._exit(0)  # the thread is still in the run


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
