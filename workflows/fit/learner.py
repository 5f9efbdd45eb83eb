"""One epoch and one evaluation in plain torch and torch.distributed, with the same result on any number of workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.prepared.allocator import keep_freed_memory
from data.prepared.encoding import EncodedDataset
from models.losses import ErrorSums, loss_sum
from models.lstm import LSTM
from models.retention import distillation_sum
from models.settings import ModelSettings
from workflows.fit.average import StepSums
from workflows.fit.device_lane import lane_for
from workflows.fit.dropout import dropout_masks
from workflows.fit.errors import Evaluator, check_finite, finite_losses
from workflows.fit.forward import EVALUATED_BATCH, MICRO_BATCH, forward, sequences_together
from workflows.fit.gradients import gradients_in_one
from workflows.fit.group import Group
from workflows.fit.lanes import Lane
from workflows.fit.retention import NO_RETENTION, Retention, Teacher
from workflows.fit.steps import Int64, Step, batches_of, no_part, steps_of
from workflows.fit.taken import Taken
from workflows.fit.threads import Replica, add_up, replicas
from workflows.recipe.settings import TrainingSettings


@dataclass(frozen=True)
class EpochResult:
    """The mean train loss of an epoch, its number of samples, the rates of its first and last step, and its seconds."""

    train_loss: float
    samples: int
    first_rate: float
    last_rate: float
    seconds: float


class Learner:
    """A model with its optimizer on one worker; all workers of the group have the same."""

    def __init__(
        self,
        model: LSTM,
        settings: ModelSettings,
        training: TrainingSettings,
        group: Group,
        device: str = "cpu",
        lane: Lane | None = None,
    ):
        self.model = model.to(device)
        self.settings = settings
        self.training = training
        self.group = group
        self.device = torch.device(device)
        self.lane = lane or lane_for(self.device, settings)
        self.micro_batch = sequences_together(model, self.device, MICRO_BATCH)
        self.evaluated_batch = sequences_together(model, self.device, EVALUATED_BATCH)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.attach()

    def attach(self) -> None:
        """Use the model's current parameters with a new optimizer."""
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.parameters = list(trained.values())
        self.sums = gradients_in_one(self.parameters, self.device)
        self.replicas = replicas(self.model, self.sums, self.lane.threads)
        self.step_sums = StepSums(trained) if self.training.hands_over == "average" else None
        self.optimizer = self._new_optimizer()

    def have_heads(self, numbers: Iterable[int]) -> None:
        """Add missing head corrections for these datasets, at zero; the moments of the others stay."""
        if self.model.corrections.become({*self.model.corrections.numbers, *numbers}):
            self._attach_again()

    def have_outputs(self, num_outputs: int) -> None:
        """Add missing outputs, up to this number of classes, at zero; the moments of the others stay."""
        if self.model.have_outputs(num_outputs):
            self._attach_again()

    def _attach_again(self) -> None:
        moments = self.optimizer.state
        self.attach()
        self.optimizer.state.update({p: moments[p] for p in self.parameters if p in moments})

    def _new_optimizer(self) -> torch.optim.Optimizer:
        self.lane.forget()
        return self.lane.new_optimizer(self.parameters, self.training.learning_rate, self.training.weight_decay)

    def reset_optimizer(self) -> None:
        """Reset the optimizer's moments."""
        self.optimizer = self._new_optimizer()

    def fit_epoch(
        self,
        dataset: EncodedDataset,
        rates: npt.NDArray[np.float64],
        seed: tuple[int, int, int],
        on_step: Callable[[int, int], None] = lambda step, samples: None,
        retention: Retention = NO_RETENTION,
        pool: int = 0,
        head: int | Callable[[Int64], Int64] | None = None,
    ) -> EpochResult:
        """Train on every sample once; `rates` has the rate of each step, `seed` is (seed, stage, epoch).

        Each step minimises the mean over its new samples and those replayed with them, weighted by
        Replay.weight; a teacher adds its mean over all of them, an anchor its penalty. `train_loss` is that of the new
        samples. With a `pool`, only so many samples are mixed at a time (see pooled_batches). `head` is the number of the
        dataset in the sequence, or gives that of each sample, if datasets have head corrections. Raises
        NonFiniteLossError, on all workers at the same step.
        """
        self.model.train()
        started, lane = time.perf_counter(), self.lane
        sizes, batches, lengths_of = batches_of(dataset, self.training, seed, pool)
        drawn = retention.replay.draw(sizes, seed)
        batches = (retention.replay.new_samples(batch, len(old)) for batch, (_, old) in zip(batches, drawn, strict=True))
        part_of = no_part
        if self.step_sums is not None:
            lane.between(partial(self.step_sums.begin, seed[2], len(sizes), self._idle(head, retention)))
            part_of = self.step_sums.part
        steps = steps_of(batches, drawn, lengths_of, self.micro_batch, self.group, part_of, head, lane.threads)
        lane.open(dataset, retention, lambda step: dropout_masks(self.model, step, seed), self.model.corrections.numbers)
        losses: list[float] = []
        total, first_rate = 0, 0.0
        while together := list(islice(steps, lane.steps_together)):
            first = together[0].number
            lane.load(together, rates[first : first + len(together)].tolist())
            for step in together:
                self.do(step, retention)
                if step.number == 0:
                    first_rate = lane.rate_of(self.optimizer)
                total += len(step.batch)
                on_step(step.number, total)
            noted = lane.read(everything=first + len(together) == len(sizes))
            losses += finite_losses(noted, dataset, seed[2], len(losses), len(sizes))
        last_rate = lane.rate_of(self.optimizer)
        return EpochResult(sum(losses) / total, total, first_rate, last_rate, time.perf_counter() - started)

    def _idle(self, head: int | Callable[[Int64], Int64] | None, retention: Retention) -> list[int]:
        """Return the datasets whose head corrections an epoch does not change: without replay all but its own."""
        others = [number for number in self.model.corrections.numbers if number != head]
        return [] if callable(head) or retention.replay.kept else others

    def do(self, step: Step, retention: Retention) -> None:
        """Run one step. A group adds up gradients between its two parts; a single process runs both in one."""

        def gradient_and_update() -> None:
            self._gradient(step, retention)
            self._update(step, retention)

        if self.group.size == 1:
            self.lane.run(step, "all", gradient_and_update)
        else:
            self.lane.run(step, "gradient", lambda: self._gradient(step, retention))
            self.lane.between(lambda: self.group.add_up(self.sums))
            self.lane.run(step, "update", lambda: self._update(step, retention))

    def _gradient(self, step: Step, retention: Retention) -> None:
        """Compute this worker's part of a step's gradient and the sum of its losses.

        This and _update may be recorded as graphs: they read no number on the host and depend only on the step's kind.
        """
        teacher, new, old = retention.teacher, len(step.batch), len(step.old)
        weight = retention.replay.weight(new, old)

        def add(replica: Replica, taken: Taken) -> None:
            count = taken.num_new
            inputs = (taken.inputs, taken.lengths, self.training, taken.masks, taken.owners, taken.known)
            outputs = forward(replica.model, *inputs)
            new_loss = loss_sum(outputs[:count], taken.targets[:count], self.settings, taken.weights_of(slice(count)))
            loss = new_loss
            if len(outputs) > count:
                old_weights = taken.weights_of(slice(count, None))
                loss = new_loss + weight * loss_sum(outputs[count:], taken.targets[count:], self.settings, old_weights)
            loss = loss / (new + weight * old)
            if teacher is not None:
                loss = loss + self._distillation(teacher, taken, outputs) / max(new * teacher.of_new + old, 1)
            loss.backward()  # type: ignore[no-untyped-call]
            replica.sums[-1] += new_loss.detach()

        for replica in self.replicas:
            replica.sums.zero_()
        self.lane.each_piece(self.replicas, add)
        add_up(self.replicas)

    def _update(self, step: Step, retention: Retention) -> None:
        """Step along the gradient of all workers."""
        if retention.anchor is not None:
            retention.anchor.add_gradient(self.model)
        # The gradient too: if only it is not finite, an epoch's last step would spoil its checkpoint unseen. A sum is
        # finite only if all its terms are, and takes a tenth of the time of torch.isfinite(...).all().
        self.lane.end_step(self.optimizer, self.sums[-1], self.sums.sum())
        clip = self.training.gradient_clip
        if clip > 0:
            norm = torch.linalg.vector_norm(self.sums[:-1])
            self.sums[:-1].mul_(torch.clamp(clip / (norm + 1e-6), max=1.0))
        self.lane.optimize(self.optimizer, self.model, step)
        if self.step_sums is not None:
            self.step_sums.add(step.part)

    def _distillation(self, teacher: Teacher, taken: Taken, outputs: Tensor) -> Tensor:
        """Return the distillation loss of all samples together, summed and weighted."""
        first = 0 if teacher.of_new else taken.num_new
        if first == len(outputs):
            return outputs.new_zeros(())
        lengths = None if taken.lengths is None else taken.lengths[first:]
        with torch.no_grad():
            owners = taken.owners[first:] if isinstance(taken.owners, Tensor) else taken.owners
            known = None if taken.known is None else taken.known[first:]
            taught = forward(teacher.model, taken.inputs[first:], lengths, self.training, None, owners, known)
        return teacher.strength * distillation_sum(outputs[first:], taught, self.settings, teacher.known)

    def evaluate(self, dataset: EncodedDataset, split: str, head: int | None = None) -> ErrorSums:
        """Return the exact sums of the errors over all samples of a split, over all workers; see evaluate_all."""
        return self.evaluate_all([dataset], split, [head])[0]

    def evaluate_all(
        self, datasets: Sequence[EncodedDataset], split: str, heads: Sequence[Any] | None = None
    ) -> list[ErrorSums]:
        """Return for each dataset the exact sums of the errors over all samples of a split, over all workers.

        `heads` has the number of each dataset in the sequence, if it has a head correction.
        Raises NonFiniteLossError, on all workers, if an error is not finite.
        """
        if not datasets:
            return []
        self.model.eval()
        settings, training, size = self.settings, self.training, self.evaluated_batch
        evaluator = Evaluator(self.replicas, self.lane, self.group, settings, training, self.device, size)
        pairs = zip(datasets, heads or [None] * len(datasets), strict=True)
        shares = [evaluator.share_of_errors(dataset, split, head) for dataset, head in pairs]
        # NCCL needs the sums on the model's device.
        totals = (
            self.group.add_up(torch.cat([each.to_tensor() for each in shares]).to(self.device)).cpu().view(len(shares), -1)
        )
        check_finite(totals, datasets, split)
        return [each.from_tensor(total) for each, total in zip(shares, totals, strict=True)]
