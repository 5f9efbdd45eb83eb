"""What a run reports while it goes on: one frozen class for each kind of event, from its first worker to whoever watches."""

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
    """The datasets are prepared; `held` epochs of the plan are in the store already."""

    plan: Plan
    held: int
    warnings: tuple[str, ...]
    seconds: float  # of the preparation
    order: str = ""  # why the datasets are in this order; empty: as the recipe has them


@dataclass(frozen=True)
class Placed:
    """It is decided where the workers run."""

    placement: Placement


@dataclass(frozen=True)
class Working:
    """A worker group began, or began again after a loss or with another number of workers; `nodes` has the node of each."""

    workers: int
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkersLost:
    """The worker group ended before its work was done, for this reason, on this node where it is known."""

    cause: str
    node: str = ""


@dataclass(frozen=True)
class Damaged:
    """A checkpoint or an evaluation is not what was written; what it held is computed again."""

    message: str
    trial: int | None = None


@dataclass(frozen=True)
class Waiting:
    """The run waits, for the reason that the message names."""

    message: str
    trial: int | None = None


@dataclass(frozen=True)
class Noticed:
    """Something happened around the run that is worth a line: a node came or went."""

    message: str


@dataclass(frozen=True)
class EpochStarted:
    """An epoch begins. `stage` and `epoch` count from 0."""

    stage: int
    epoch: int
    dataset: str
    samples: int


@dataclass(frozen=True)
class StepDone:
    """`step` optimizer steps of the current epoch are done, `seen` of its `samples` train samples went in."""

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
    """`datasets` datasets are about to be evaluated after `stage` stages."""

    stage: int
    split: str
    datasets: int


@dataclass(frozen=True)
class EvaluationDone:
    """The errors of the state `key` on one split by dataset; None where the split has no samples."""

    stage: int
    split: str
    key: str
    errors: Mapping[str, float | None]
    evaluate_seconds: float = 0.0


@dataclass(frozen=True)
class Guarded:
    """The guard judged an attempt at a stage; `over` is False where it will be tried again."""

    report: GuardReport
    over: bool


@dataclass(frozen=True)
class Walked:
    """The workers are done; `failed` is the reason if the run cannot go on."""

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
    """Return the event of an epoch: the numbers of its checkpoint, the names and places of this plan."""
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
