"""Program with a search on two nodes of three cores, with two workers for each trial.

    pinned_trials.py RECIPE STORAGE

Prints as JSON how many trials ran at a time, how they ended, and the nodes of each group of workers.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from cluster.connect import connect, disconnect, set_environment
from workflows.recipe.recipe import load_recipe
from workflows.relay.events import EpochDone
from workflows.results.events import Event, SearchPlanned
from workflows.search.search import search


def main(recipe: Path, storage: Path) -> None:
    set_environment()
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=3)
    connect(str(cluster.address))
    num_concurrent, groups = 0, dict[str, tuple[str, list[str]]]()

    def watch(event: Event) -> None:
        nonlocal num_concurrent
        if isinstance(event, SearchPlanned):
            num_concurrent = event.placement.num_concurrent
        elif isinstance(event, EpochDone):
            for name, each in ray.util.placement_group_table().items():
                if each["state"] == "CREATED" and len(each["bundles"]) == 2:
                    groups[name] = each["strategy"], list(each["bundles_to_node_id"].values())

    result = search(load_recipe(recipe), storage, None, None, str(cluster.address), watch)
    counts = {"num_concurrent": num_concurrent, "ended": len(result.complete), "failed": len(result.failed)}
    print(json.dumps({**counts, "groups": list(groups.values())}), flush=True)
    disconnect()
    for node in cluster.list_all_nodes():
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    os._exit(0)  # threads of Ray may be left


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
