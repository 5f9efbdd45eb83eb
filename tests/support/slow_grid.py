"""Program that runs searches of a grid of 81 trials with randomly delayed storage calls, on two busy cores.

Arguments: the folder of the recipe, and the number of searches. Prints their results as JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LONGEST_S = 0.02


def slow_down() -> None:
    """Delay every storage call of this process; Ray calls this in each of its workers."""
    from storages import CALLS

    from workflows.store.local_storage import LocalStorage

    chance = random.Random(os.getpid())

    def delayed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            time.sleep(LONGEST_S * chance.random() ** 4)
            try:
                return method(*args)
            finally:
                time.sleep(LONGEST_S * chance.random() ** 4)

        return call

    for name in CALLS:
        setattr(LocalStorage, name, delayed(getattr(LocalStorage, name)))


def main(folder: Path, rounds: int) -> None:
    from helpers import train_in_process

    from cluster.connect import connect, disconnect
    from workflows.recipe.recipe import check_recipe, load_recipe
    from workflows.relay.events import EpochDone
    from workflows.search.result import best_document
    from workflows.search.search import search
    from workflows.store.store import Store

    recipe = load_recipe(folder / "small.toml")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    searches: list[dict[str, Any]] = []
    try:
        connect(num_cpus=2, runtime_env={"worker_process_setup_hook": "slow_grid.slow_down"})
        slow_down()
        for number in range(rounds):
            events: list[Any] = []
            storage = folder / f"runs {number}"
            result = search(recipe, storage, watch=events.append).to_json()
            store = Store(str(storage))
            left = {name: store.storage.names(name) for name in ("damaged", "leases")}
            trained = [event.key for event in events if isinstance(event, EpochDone)]
            searches.append({"result": result, "trained": trained, **left})
    finally:
        for process in busy:
            process.kill()
        disconnect()
    alone, expected = folder / "alone", []
    shutil.copytree(folder / "runs 0" / "prepared", alone / "prepared", copy_function=shutil.copy2)
    for trial in searches[0]["result"]["trials"]:
        _, run = train_in_process(check_recipe(best_document(recipe, trial["config"], "alone"), folder), alone)
        assert run.result is not None
        expected.append({"config": trial["config"], **run.result.to_json()})
    print(json.dumps({"rounds": searches, "expected": expected}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
