"""The plan of a run as values: its stages, their rates, and the address of every epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from data.prepared.encoding import EncodedDataset
from models.known_future import KnownFuture
from models.settings import Channels, ModelSettings
from workflows.fit.thirds import averaged_epochs
from workflows.recipe.settings import GuardSettings, RetentionSettings, TrainingSettings
from workflows.recipe.target_inputs import channels_of
from workflows.relay.learning_rate import carried_rates, plateau_rate, step_rates
from workflows.relay.planned import PlannedDataset as PlannedDataset
from workflows.relay.planned import address as address
from workflows.relay.planned import classes_seen

NO_RETENTION, JUST_WARN = RetentionSettings(), GuardSettings()
CHAIN_FORMAT = 1  # raise it when the same epoch would give another result; then every address is new


@dataclass(frozen=True)
class Epoch:
    """One epoch before it is trained; its key is the address of the state after it."""

    parent: str
    key: str
    stage: int
    number: int
    dataset: int
    learning_rate: float
    reset_optimizer: bool
    starts: tuple[str, ...]  # the addresses of the states that this stage and those before it started from
    retention: RetentionSettings


@dataclass(frozen=True)
class Stage:
    """The training on one dataset: at most `epochs` epochs around `learning_rate`."""

    dataset: int
    learning_rate: float
    epochs: int


@dataclass(frozen=True)
class Plan:
    """Everything that affects the result of a run, and nothing else."""

    seed: int
    model: ModelSettings
    training: TrainingSettings
    datasets: tuple[PlannedDataset, ...]
    stages: tuple[Stage, ...]
    num_features: int
    num_outputs: int
    root: str
    retention: RetentionSettings = NO_RETENTION
    guard: GuardSettings = JUST_WARN  # decides which states are kept, not part of the address
    channels: Channels | None = None
    joint: bool = False  # the last dataset represents all others, and the only stage trains on it
    known: KnownFuture | None = None  # columns of the predicted rows that the head sees
    grown: tuple[int, ...] = ()  # outputs in each stage, if datasets add classes to those of the first one

    @property
    def monitor(self) -> Literal["loss", "error"]:
        """Return the validation figure that patience, the best epoch, plateau and the guard watch."""
        return self.training.monitor or ("loss" if self.model.classifies else "error")

    def head_of(self, dataset: int) -> int | None:
        """Return the number of a dataset's head correction (that of its stage); None if it has none."""
        if not self.model.dataset_heads:
            return None
        if self.joint:
            return dataset if dataset < len(self.datasets) - 1 else None
        return next((number for number, stage in enumerate(self.stages) if stage.dataset == dataset), None)

    def outputs_in(self, stage: int) -> int:
        """Return the number of model outputs in a stage: those for the classes up to its dataset."""
        return self.grown[stage] if self.grown else self.num_outputs

    def steps_an_epoch(self, stage: Stage) -> int:
        """Return the optimizer steps of one epoch; one of them may have fewer samples."""
        return -(-self.datasets[stage.dataset].samples["train"] // self.training.batch_size)

    def pool(self, stage: Stage) -> int:
        """Return how many train samples of a dataset are shuffled at a time; 0: all."""
        dataset, limit = self.datasets[stage.dataset], self.training.shuffle_gb * 1e9
        if not self.training.shuffle or dataset.train_bytes <= limit:
            return 0
        return max(int(dataset.samples["train"] * limit / dataset.train_bytes), 1)

    def rates(self, epoch: Epoch) -> Any:
        """Return the rate of every step of an epoch, float64 (steps,)."""
        steps = self.steps_an_epoch(self.stages[epoch.stage])
        before = sum(self.steps_an_epoch(stage) * stage.epochs for stage in self.stages[: epoch.stage])
        every = steps * self.stages[epoch.stage].epochs
        warmup, schedule = self.training.warmup_steps, self.training.schedule
        return step_rates(epoch.learning_rate, steps, epoch.number * steps, warmup, schedule, every, before)

    def epoch(self, starts: tuple[str, ...], parent: str, number: int, errors: Sequence[float | None] = ()) -> Epoch:
        """Return the epoch that follows the state `parent`, in the stage that began at the last of `starts`.

        `errors` are the monitored validation figures of the stage's epochs so far; they decide the rate of "plateau".
        """
        stage_number, training = len(starts) - 1, self.training
        stage, rate = self.stages[stage_number], self.stages[stage_number].learning_rate
        if training.schedule == "plateau":
            rate = plateau_rate(rate, errors, training.plateau_factor, training.plateau_patience)
        reset = number == 0 and stage_number > 0 and not training.carry_optimizer
        epoch = Epoch(parent, "", stage_number, number, stage.dataset, rate, reset, starts, self.retention)
        decided_by = {
            "parent": parent,
            "train": self.datasets[stage.dataset].sha256["train"],
            "rates": hashlib.sha256(self.rates(epoch).tobytes()).hexdigest(),
            "reset_optimizer": reset,
            "order": [self.seed, stage_number, number] if training.shuffle or self.model.dropout else None,
            **({"pool": self.pool(stage)} if self.pool(stage) else {}),
            "shuffle": training.shuffle,
            "batch_size": training.batch_size,
            "weight_decay": training.weight_decay,
            "gradient_clip": training.gradient_clip,
            "precision": training.precision,
            **self._retention_keys(starts),
            # The first stage has no head correction: the shared head serves its dataset alone until the second.
            **({"sums": "of weights"} if training.hands_over == "average" else {}),
            **({"head": "dataset"} if self.model.dataset_heads and (stage_number or self.joint) else {}),
            **({"outputs": outputs} if (outputs := self.outputs_in(stage_number)) > self.num_outputs else {}),
        }
        return replace(epoch, key=address(decided_by))

    def _retention_keys(self, starts: tuple[str, ...]) -> dict[str, Any]:
        """Return the address keys of retention in a stage; empty if there is nothing to retain."""
        if self.retention.method == "none" or len(starts) == 1:
            return {}
        before = self.stages[: len(starts) - 1]
        earlier = [self.datasets[stage.dataset].sha256["train"] for stage in before]
        draw = [self.seed, len(starts) - 1]
        decided = {"retention": self.retention.deciding(), "earlier": earlier, "draw": draw, "starts": list(starts)}
        if self.retention.replays and self.retention.memory is None and any(self.pool(stage) for stage in before):
            decided["kept"] = [self.kept_of(stage, self.retention) for stage in before]
        return decided

    def kept_of(self, stage: Stage, retention: RetentionSettings) -> int | float:
        """Return how many train samples of an earlier stage's dataset are kept, or the share."""
        return retention.kept_of(self.datasets[stage.dataset].samples["train"], self.pool(stage) > 0)

    def straight_on(self) -> Iterator[Epoch]:
        """Return all epochs if each dataset hands over its last or averaged state at its first rate."""
        starts: tuple[str, ...] = ()
        key = self.root
        for stage in self.stages:
            starts += (key,)
            keys: list[str] = []
            for number in range(stage.epochs):
                epoch = self.epoch(starts, key, number)
                key = epoch.key
                keys.append(key)
                yield epoch
            key = average_key(keys) if self.training.hands_over == "average" else key

    def again(self, stage_number: int, attempt: int) -> Plan:
        """Return the plan of attempt 1, 2, ... at a stage: its rate halved each time, or its retention doubled."""
        if self.guard.retry == "retention":
            strength = self.retention.strength * 2**attempt
            return replace(self, retention=self.retention.model_copy(update={"strength": strength}))
        stages = list(self.stages)
        stages[stage_number] = replace(stages[stage_number], learning_rate=stages[stage_number].learning_rate / 2**attempt)
        return replace(self, stages=tuple(stages))


def average_key(keys: Sequence[str]) -> str:
    """Return the address of the averaged state at the end of a stage with these epochs."""
    return address({"average": [[keys[number], whole] for number, whole in averaged_epochs(len(keys))]})


def make_plan(
    seed: int,
    model: ModelSettings,
    training: TrainingSettings,
    datasets: Sequence[EncodedDataset],
    epochs: Sequence[int],
    retention: RetentionSettings = NO_RETENTION,
    guard: GuardSettings = JUST_WARN,
) -> Plan:
    """Return the plan of training the datasets in this order; those with 0 epochs come last and are evaluated only."""
    first, counts = datasets[0], [count for count in epochs if count]
    seen = classes_seen(datasets[: len(counts)]) if model.classes == "seen" and first.encoding.classes else None
    count = len(first.encoding.classes) if seen is None else seen[0]
    outputs = model.num_outputs(len(first.prepared.targets), first.prepared.horizon, count)
    rates = carried_rates(training.learning_rate, training.decay_rate, len(counts), training.min_learning_rate)
    channels = channels_of(datasets) if model.needs_channels else None
    plan = Plan(
        seed=seed,
        model=model,
        training=training,
        retention=retention,
        guard=guard,
        datasets=tuple(
            PlannedDataset.of(dataset, model.loss, None if seen is None else seen[min(number, len(counts) - 1)])
            for number, dataset in enumerate(datasets)
        ),
        stages=tuple(Stage(k, rate, count) for k, (rate, count) in enumerate(zip(rates, counts, strict=True))),
        num_features=first.num_features,
        num_outputs=outputs,
        root="",
        channels=channels,
        known=KnownFuture(first.known, first.prepared.horizon) if first.known else None,
        grown=() if seen is None or seen[-1] == outputs else tuple(seen),
    )
    return replace(plan, root=root_of(plan))


def root_of(plan: Plan) -> str:
    """Return the address of the untrained state of a plan."""
    return address(
        {
            "format": CHAIN_FORMAT,
            "model": plan.model.model_dump(mode="json", exclude=_idle_keys(plan.model)),
            "seed": plan.seed,
            "num_features": plan.num_features,
            "num_outputs": plan.num_outputs,
            **({} if plan.channels is None else {"channels": asdict(plan.channels)}),
            **({} if plan.known is None else {"known_future": asdict(plan.known)}),
        }
    )


def _idle_keys(model: ModelSettings) -> set[str]:
    """Return the model keys that have no effect as they are set, so that they are not part of the address."""
    # The head matters from the second stage on; classes are in the outputs, their weights in each dataset's encoding.
    idle = {"head", "classes", "class_weights"}
    idle |= set() if model.predicts_quantiles else {"quantiles"}
    if model.window_normalization == "none":
        idle.add("window_normalization")
    return idle if model.channel_independent else {*idle, "channel_independent"}
