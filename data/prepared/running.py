"""Run preparation tasks by Ray Data on a cluster, or one after the other in this process."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from data.errors import FailedError
from data.prepared.allocator import keep_freed_memory
from data.prepared.shards import Shard, run_shards
from data.sharding.tasks import run_task as run_sharding

BLOCKS_A_CORE = 3  # of tasks; Ray Data takes 0.2 s to hand out a block, more blocks even out tasks of different sizes
FEWEST_BLOCKS = 64  # on an autoscaling cluster, which may start without a core
MAX_RETRIES = 2  # of a task that lost its process or node; Ray Data itself would retry forever
TASK_BYTES = 1 << 30  # approximate maximum memory of a task

Run = Callable[[list[list[Any]]], list[list[Any]]]


@dataclass(frozen=True)
class TaskRun:
    """A task that has finished: the ID of its node, and how often it was lost before."""

    task: list[Any]
    node: str
    times_lost: int


def run_task(task: list[Any]) -> list[Any]:
    """Run shards of the same files one after the other, or the steps of a dataset that is cut."""
    if isinstance(task[0], Shard):
        return list(run_shards(task))
    return [run_sharding(each) for each in task]


def run_here(tasks: list[list[Any]]) -> list[list[Any]]:
    """Run the tasks in this process."""
    return [run_task(task) for task in tasks]


def run_with_ray(
    tasks: list[list[Any]],
    work: Callable[[list[Any]], list[Any]] = run_task,
    own_cluster: bool = True,
    tell: Callable[[str], object] = lambda message: None,
    note: Callable[[TaskRun], object] = lambda run: None,
    times_lost: Callable[[], int] = lambda: 0,
) -> list[list[Any]]:
    """Run the tasks on the cluster that this process is connected to, by Ray Data.

    `from_items` hands out the tasks and `map` runs them: Ray Data places them on free cores, asks an autoscaler for more,
    and reruns tasks that were lost with a process or a node. Rows do not pass through its object store: tasks read files
    and write files. `work` runs a task; it is a function of a module, because it is sent to other processes by name. Tasks
    that are lost repeatedly, as when they run out of memory together, are run once more one at a time. `tell` gets a
    sentence for each loss, counted by `times_lost` in the task; `note` gets the node of each task. Raises FailedError if a
    task is lost when it runs alone, too.
    """
    import ray

    cores = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    num_blocks = min(len(tasks), max(BLOCKS_A_CORE * max(cores, 1), 1 if own_cluster else FEWEST_BLOCKS))
    left, results = dict(enumerate(tasks)), dict[int, list[Any]]()
    lost = "it ran out of memory"
    for alone in (False, True):
        blocks, concurrency = (len(left), 1) if alone else (num_blocks, None)
        try:
            _run(left, results, work, blocks, concurrency, tell, note, times_lost)
        except Exception as error:
            lost = lost_by(error) or ""
            if not lost:
                raise
        left = {number: task for number, task in left.items() if number not in results}
        if not left:
            return [results[number] for number in range(len(tasks))]
        if not alone:
            tell(f"{_what(left.values())}: tasks were lost ({lost}); {len(left)} are run again, one at a time")
    raise FailedError(
        f"{_what(left.values())}: a task that prepares it was lost again and again, also when it ran alone ({lost}); a task "
        f"takes about {TASK_BYTES / 1e9:.1f} GB, and up to four times the size of a file that holds whole series: give the "
        "machines more memory, or divide the files above 250 MB"
    )


def _run(
    tasks: Mapping[int, list[Any]],
    collected: dict[int, list[Any]],
    work: Callable[[list[Any]], list[Any]],
    num_blocks: int,
    concurrency: int | None,
    tell: Callable[[str], object],
    note: Callable[[TaskRun], object],
    times_lost: Callable[[], int],
) -> None:
    """Collect the results of tasks in `collected` as they arrive, except those that ran out of memory."""
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    def run_row(row: dict[str, Any]) -> dict[str, Any]:
        keep_freed_memory()
        try:
            results = pickle.dumps(work(pickle.loads(row["task"])))
        except MemoryError:  # Ray reports a task's errors only as text
            results = b""
        where = ray.get_runtime_context()
        return {
            "number": row["number"],
            "results": results,
            "node": where.get_node_id(),
            "block": where.get_task_id(),
            "lost": times_lost(),
        }

    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"number": number, "task": pickle.dumps(task)} for number, task in tasks.items()]
    dataset = ray.data.from_items(rows, override_num_blocks=num_blocks)
    with warnings.catch_warnings():
        # Ray 2.60 deprecates these arguments and has no other way yet to limit retries.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        retries = {"max_retries": MAX_RETRIES}
        mapped = dataset.map(run_row, concurrency=concurrency, ray_remote_args_fn=lambda: retries)
    reported: set[str] = set()
    for row in mapped.iter_rows():  # in the order of completion
        task = tasks[row["number"]]
        if not row["results"]:
            continue
        collected[row["number"]] = pickle.loads(row["results"])
        note(TaskRun(task, row["node"], row["lost"]))
        if row["lost"] and row["block"] not in reported:
            reported.add(row["block"])
            times = "once" if row["lost"] == 1 else f"{row['lost']} times"
            tell(f"{_what([task])}: a task was lost {times} with its process or node; it ran again and is done")


def lost_by(error: BaseException) -> str | None:
    """Return how a task was lost with its process or node, from Ray's error; None for an error of the task itself."""
    words = {
        "OutOfMemoryError": "it ran out of memory",
        "WorkerCrashedError": "its process died",
        "NodeDiedError": "its node died",
        "ObjectLostError": "its node died",
    }
    each: BaseException | None = error
    while each is not None:
        for kind in type(each).__mro__:
            if kind.__name__ in words:
                return words[kind.__name__]
        each = each.__cause__ or each.__context__
    return None


def _what(tasks: Iterable[list[Any]]) -> str:
    names = sorted({each.source.name for task in tasks for each in task if hasattr(each, "source")})
    shown = ", ".join(repr(name) for name in names[:3]) + (" ..." if len(names) > 3 else "")
    return f"dataset {shown}" if names else "files"
