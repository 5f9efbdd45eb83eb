"""Run as a program: a run on three nodes of one machine, of which one is lost and one is added while it goes on.

Prints, as JSON, the number of workers of each epoch and the seconds between the loss and the next one; then it ends.
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

    workflows.workers.ELASTIC_INTERVAL_S = 5.0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=1)
    lost = cluster.add_node(num_cpus=1)
    connect(cluster.address)
    times: dict[str, float] = {}
    epochs: list[dict[str, Any]] = []

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
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
    print(json.dumps({"workers": [epoch["workers"] for epoch in epochs], "seconds_until_work_goes_on": goes_on}), flush=True)
    cluster.shutdown()
    os._exit(0)  # the thread is still in the run


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
