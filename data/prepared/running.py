"""Tasks are run by Ray Data on a cluster, or one after the other in this process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from data.prepared.allocator import keep_freed_memory
from data.prepared.shards import Shard, run_shards
from data.sharding.tasks import run_task as run_sharding

BLOCKS_A_CORE = 3  # of tasks; Ray Data takes 0.2 s to hand out a block, more blocks even out tasks of different sizes
FEWEST_BLOCKS = 64  # on somebody's cluster, which may begin without a core and grow with what waits
MAX_RETRIES = 3  # of a task whose process or node was lost

Run = Callable[[list[list[Any]]], list[list[Any]]]


def run_task(task: list[Any]) -> list[Any]:
    """Run the shards of the same files one after the other, or the steps of a dataset that is cut."""
    if isinstance(task[0], Shard):
        return list(run_shards(task))
    return [run_sharding(each) for each in task]


def run_here(tasks: list[list[Any]]) -> list[list[Any]]:
    """Run the tasks in this process."""
    return [run_task(task) for task in tasks]


def run_with_ray(
    tasks: list[list[Any]], work: Callable[[list[Any]], list[Any]] = run_task, own_cluster: bool = True
) -> list[list[Any]]:
    """Run the tasks on the cluster that this process is connected to, by Ray Data.

    `from_items` hands out the tasks and `map` runs them: Ray Data places them on free cores, asks an autoscaler for more,
    and runs again what was lost with a node. Rows do not pass through its object store: tasks read files and write files.
    `work` is what is done with a task: a function of a module, as it is sent to other processes by its name.
    """
    import ray
    import ray.data
    from ray.data._internal.execution.resource_manager import ResourceManager

    def run_row(row: dict[str, Any]) -> dict[str, Any]:
        keep_freed_memory()
        return {"number": row["number"], "results": pickle.dumps(work(pickle.loads(row["task"])))}

    ray.data.DataContext.get_current().enable_progress_bars = False
    # Ray Data asks each second which cores it may use, and before the first answer it runs one task at a time.
    ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = 0.1  # type: ignore[assignment]
    rows = [{"number": number, "task": pickle.dumps(task)} for number, task in enumerate(tasks)]
    cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    num_blocks = min(len(rows), max(BLOCKS_A_CORE * max(cores, 1), 1 if own_cluster else FEWEST_BLOCKS))
    finished = ray.data.from_items(rows, override_num_blocks=num_blocks).map(run_row).take_all()
    in_order = sorted(finished, key=lambda row: row["number"])
    return [pickle.loads(row["results"]) for row in in_order]
