"""The loggers of a recipe: opened at the first number, closed when the run ends."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from data.errors import InputError
from data.prepared.encoding import EncodedDataset
from workflows.loggers.mlflow_run import MLflowRun
from workflows.loggers.scalars import Answered, Logger, Scalars
from workflows.loggers.tensorboard import TensorBoard
from workflows.loggers.tracked import Tracked
from workflows.loggers.wandb_run import WandbRun
from workflows.recipe.recipe import Recipe
from workflows.relay.plan import Plan
from workflows.store.store import Store

TRACKERS = {"mlflow": MLflowRun, "wandb": WandbRun}


def check_loggers(names: Sequence[str]) -> None:
    """Raise InputError for a logger whose package is not installed."""
    absent = [name for name in names if name in TRACKERS and importlib.util.find_spec(name) is None]
    if absent:
        raise InputError(
            f"logging.loggers: {name} is not installed: pip install 'lstm-relay[{name}]', or leave it out" for name in absent
        )


class RunLoggers:
    """The loggers of one training, one run per tracker for all workers. `problems` has write errors."""

    def __init__(self, recipe: Recipe, store: Store, name: str):
        check_loggers(recipe.logging.loggers)
        self.names, self.store, self.name = recipe.logging.loggers, store, name
        self.tracked = Tracked(store, name, recipe.document)
        self.tensorboard: TensorBoard | None = None
        self.trackers: list[Any] = []

    def are_new(self) -> bool:
        """Return whether a logger has no data of this training yet."""
        boards = "tensorboard" in self.names and not self.store.storage.names(f"runs/{self.name}/events")
        return boards or any(self.tracked.id_of(name) is None for name in self.names if name in TRACKERS)

    def open(self, plan: Plan, datasets: Sequence[EncodedDataset], answered: Answered) -> Scalars:
        """Return the writer of each event's numbers; writes those in the store now."""
        if "tensorboard" in self.names:
            self.tensorboard = TensorBoard(self.store, self.name)
        self.trackers = [TRACKERS[name](self.tracked) for name in self.names if name in TRACKERS]
        loggers: list[Logger] = [*self.trackers, *([] if self.tensorboard is None else [self.tensorboard])]
        return Scalars(loggers, plan, datasets, answered)

    def copy(self) -> None:
        """Copy the event file of TensorBoard to an object store."""
        if self.tensorboard is not None:
            self.tensorboard.copy()

    def close(self) -> None:
        """Finish writing; trackers get the recipe, the result and the report, if there are any."""
        for each in [*self.trackers, *([] if self.tensorboard is None else [self.tensorboard])]:
            each.close()
        self.trackers, self.tensorboard = [], None

    @property
    def problems(self) -> list[str]:
        """Return the messages of trackers that stopped writing or began a new run."""
        return [words for each in self.trackers for words in (each.problem, each.note) if words]
