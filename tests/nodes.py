"""Run as a program: a run on three nodes of one machine, of which one is lost and one is added while it goes on.

Prints, as JSON, the number of workers of each epoch, how long the first one took to come, and how long after the loss
the next one; then it ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cluster.connect import connect, set_environment
from workflows.recipe import load_recipe


def main(recipe: Path, storage: Path) -> None:
    set_environment()
    from ray.cluster_utils import Cluster

    import workflows.workers
    from workflows.training import train

    workflows.workers.ELASTIC_INTERVAL_S = 2.0
    # A lost node answers no more at all and is known to be dead after 2 s; one that is merely slow has 10 s to answer.
    checks = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": checks})
    cluster.add_node(num_cpus=1)
    lost = cluster.add_node(num_cpus=1)
    connect(cluster.address)
    times: dict[str, float] = {}
    epochs: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "placed":
            times["placed"] = time.monotonic()
        elif event["event"] == "epoch":
            epochs.append({"workers": event["workers"], "at": time.monotonic()})

    # Nodes are added and removed by the main thread: Ray installs signal handlers when it starts one.
    arguments = (load_recipe(recipe), storage, None, None, cluster.address, watch)
    work = threading.Thread(target=train, args=arguments, daemon=True)
    work.start()
    while work.is_alive():
        if "lost" not in times and len(epochs) >= 4:
            cluster.remove_node(lost, allow_graceful=False)
            times["lost"] = time.monotonic()
        elif "lost" in times and "added" not in times and epochs[-1]["workers"] == 1:
            cluster.add_node(num_cpus=1)
            times["added"] = time.monotonic()
        elif "added" in times and [epoch["workers"] for epoch in epochs[-3:]] == [2, 2, 2]:
            break  # all has been seen; the run would go on for long
        work.join(0.05)
    goes_on = next(epoch["at"] for epoch in epochs if epoch["at"] > times["lost"]) - times["lost"]
    told = {
        "workers": [epoch["workers"] for epoch in epochs],
        "seconds_until_first_epoch": epochs[0]["at"] - times["placed"],
        "seconds_until_work_goes_on": goes_on,
    }
    print(json.dumps(told), flush=True)
    for node in cluster.list_all_nodes():
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    os._exit(0)  # the thread is still in the run


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
