"""The events of a run: one frozen class for each kind, sent from its first worker to the watchers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cluster.placement import Placement
from workflows.relay.guard import GuardReport
from workflows.relay.plan import Epoch, Plan
from workflows.store.kept import EpochRecord


@dataclass(frozen=True)
class Preparing:
    """The datasets of a recipe are about to be found, checked and prepared."""

    recipe: str


@dataclass(frozen=True)
class Planned:
    """The datasets are prepared; `held` epochs of the plan are in the store."""

    plan: Plan
    held: int
    warnings: tuple[str, ...]
    seconds: float  # of the preparation
    order: str = ""  # reason for the order of the datasets; empty: the recipe's order


@dataclass(frozen=True)
class Placed:
    """The workers have been placed."""

    placement: Placement


@dataclass(frozen=True)
class Working:
    """A worker group started, or restarted after a loss or with another number of workers; `nodes` has each one's node."""

    workers: int
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkersLost:
    """The worker group ended early, for this reason, on this node if it is known."""

    cause: str
    node: str = ""


@dataclass(frozen=True)
class Damaged:
    """A checkpoint or an evaluation is damaged; its content is computed again."""

    message: str
    trial: int | None = None


@dataclass(frozen=True)
class Waiting:
    """The run is waiting, for the reason in the message."""

    message: str
    trial: int | None = None


@dataclass(frozen=True)
class Noticed:
    """Something around the run changed: a node joined or left."""

    message: str


@dataclass(frozen=True)
class EpochStarted:
    """An epoch started. `stage` and `epoch` count from 0."""

    stage: int
    epoch: int
    dataset: str
    samples: int


@dataclass(frozen=True)
class StepDone:
    """`step` optimizer steps of the current epoch are done, over `seen` of its `samples` train samples."""

    step: int
    seen: int
    samples: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch was trained and committed under `key`.

    `stage` and `epoch` count from 0, of at most `epochs` in this stage. `seconds` is the fit alone, `fit_seconds` includes
    the commit; `when` is Unix time. `trial` and `pid` are those of a search's trial.
    """

    key: str
    parent: str | None
    dataset: str
    stage: int
    epoch: int
    epochs: int
    learning_rate: float
    train_loss: float
    samples: int
    seconds: float
    fit_seconds: float
    when: float
    workers: int = 1
    trial: int | None = None
    pid: int | None = None


@dataclass(frozen=True)
class EvaluationStarted:
    """The evaluation of `datasets` datasets after `stage` stages started."""

    stage: int
    split: str
    datasets: int


@dataclass(frozen=True)
class EvaluationDone:
    """The errors of the state `key` on one split by dataset; None if the split has no samples."""

    stage: int
    split: str
    key: str
    errors: Mapping[str, float | None]
    evaluate_seconds: float = 0.0


@dataclass(frozen=True)
class Guarded:
    """The guard judged an attempt at a stage; `over` is False if it will be tried again."""

    report: GuardReport
    over: bool


@dataclass(frozen=True)
class Walked:
    """The workers are done; `failed` is the reason if the run cannot continue."""

    workers: int
    failed: str | None = None


RunEvent = (
    Preparing
    | Planned
    | Placed
    | Working
    | WorkersLost
    | Damaged
    | Waiting
    | Noticed
    | EpochStarted
    | StepDone
    | EpochDone
    | EvaluationStarted
    | EvaluationDone
    | Guarded
    | Walked
)
Emit = Callable[[RunEvent], None]


def epoch_done(epoch: Epoch, plan: Plan, record: EpochRecord, fit_seconds: float = 0.0, workers: int = 1) -> EpochDone:
    """Return the event of an epoch from its checkpoint's record and this plan's names."""
    return EpochDone(
        key=epoch.key,
        parent=epoch.parent,
        dataset=plan.datasets[epoch.dataset].name,
        stage=epoch.stage,
        epoch=epoch.number,
        epochs=plan.stages[epoch.stage].epochs,
        learning_rate=record.learning_rate,
        train_loss=record.train_loss,
        samples=record.samples,
        seconds=record.seconds,
        fit_seconds=fit_seconds,
        when=record.when,
        workers=workers,
    )
