"""One epoch, and one evaluation: plain torch and torch.distributed, the same numbers on any number of workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.prepared.allocator import keep_freed_memory
from data.prepared.encoding import Batch, EncodedDataset
from models.losses import ErrorSums, loss_sum
from models.lstm import LSTM
from models.retention import distillation_sum
from models.settings import ModelSettings
from workflows.fit.group import Group
from workflows.fit.replay import joined
from workflows.fit.retention import NO_RETENTION, Retention, Teacher
from workflows.fit.sampling import batch_sizes, epoch_batches, micro_batches, pooled_batches, worker_share
from workflows.recipe.settings import TrainingSettings

# Sequences that go through the network together. A CPU takes 245 microseconds a sequence with 32 of them, 219 with 128, and
# 370 with more: then the activations are too large a piece of memory to be kept (see data.prepared.allocator).
MICRO_BATCH = {"cpu": 128, "cuda": 4096}
EVALUATED_BATCH = {"cpu": 256, "cuda": 4096}  # forward alone needs a quarter of the memory
MEASURED_TOGETHER = 65_536  # samples of an evaluation whose lengths are looked at together


Int64 = npt.NDArray[np.int64]


class NonFiniteLossError(Exception):
    """The loss or its gradient was not a number; the state before the epoch stands."""


@dataclass(frozen=True)
class EpochResult:
    """The mean loss over all samples of the epoch, the rates used at its first and last step, and what it took."""

    train_loss: float
    samples: int
    first_rate: float
    last_rate: float
    seconds: float


def outputs_of(model: LSTM, batch: Batch, training: TrainingSettings, masks: Tensor | None = None) -> Tensor:
    """A model's outputs for the samples of a batch, on its own device and in the precision of the training."""
    device = next(model.parameters()).device
    inputs, lengths = torch.from_numpy(batch.inputs).to(device), torch.from_numpy(batch.lengths).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16"):
        outputs: Tensor = model(inputs, lengths, masks)
    return outputs


def sequences_together(model: LSTM, device: torch.device, most: Mapping[str, int]) -> int:
    """How many samples go through the network at once, of which each may be several sequences to it."""
    return max(most[device.type] // model.num_series, 1)


class Learner:
    """A model with its optimizer, on one worker of a group. Every worker of the group holds the same."""

    def __init__(self, model: LSTM, settings: ModelSettings, training: TrainingSettings, group: Group, device: str = "cpu"):
        self.model = model.to(device)
        self.settings = settings
        self.training = training
        self.group = group
        self.device = torch.device(device)
        self.micro_batch = sequences_together(model, self.device, MICRO_BATCH)
        self.evaluated_batch = sequences_together(model, self.device, EVALUATED_BATCH)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        # The gradients of all parameters and the loss in one buffer: one all-reduce a step.
        self.sums = torch.zeros(sum(p.numel() for p in self.parameters) + 1, device=self.device)
        place = 0
        for parameter in self.parameters:
            parameter.grad = self.sums[place : place + parameter.numel()].view_as(parameter)
            place += parameter.numel()
        self.optimizer = self._new_optimizer()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        # With a weight decay of 0 this is Adam to the bit.
        rate, decay = self.training.learning_rate, self.training.weight_decay
        return torch.optim.AdamW(self.parameters, lr=rate, weight_decay=decay, fused=True)

    def reset_optimizer(self) -> None:
        """Forget the moments."""
        self.optimizer = self._new_optimizer()

    def fit_epoch(
        self,
        dataset: EncodedDataset,
        rates: npt.NDArray[np.float64],
        seed: tuple[int, int, int],
        on_step: Callable[[int, int], None] = lambda step, samples: None,
        retention: Retention = NO_RETENTION,
        pool: int = 0,
    ) -> EpochResult:
        """Train on every sample once, `rates` being the rate of each step, `seed` (seed, stage, epoch).

        Each step minimises the mean over its new samples and those replayed with them, the latter weighted by
        Replay.weight; a teacher adds its mean over all of them, an anchor its penalty. `train_loss` is of the new samples
        alone. With a `pool`, only so many samples are mixed at a time (see pooled_batches). Raises NonFiniteLossError, on
        all workers at the same step.
        """
        self.model.train()
        started = time.perf_counter()
        sizes, batches = self._batches(dataset, seed, pool)
        replay, anchor = retention.replay, retention.anchor
        drawn = replay.draw(sizes, seed)
        total, seen, used = 0.0, 0, []
        for step, (batch, (owners, old), rate) in enumerate(zip(batches, drawn, rates, strict=True)):
            self.sums.zero_()
            masks = self._dropout_masks(len(batch) + len(old), (*seed, step))
            weight = replay.weight(len(batch), len(old))
            for places, replayed in self._my_pieces(dataset.lengths("train", batch), len(old)):
                samples = [dataset.batch("train", batch[places]), *replay.batches(owners[replayed], old[replayed])]
                rows, count = np.concatenate([places, len(batch) + replayed]), len(places)
                together = joined(samples)
                outputs, targets = self._outputs(together, None if masks is None else masks[rows])
                new = loss_sum(outputs[:count], targets[:count], self.settings)
                loss = new
                if len(replayed):
                    loss = new + weight * loss_sum(outputs[count:], targets[count:], self.settings)
                loss = loss / (len(batch) + weight * len(old))
                if retention.teacher is not None:
                    away = self._away(retention.teacher, together, samples[1:], outputs)
                    loss = loss + away / max(len(batch) * retention.teacher.of_new + len(old), 1)
                loss.backward()  # type: ignore[no-untyped-call]
                self.sums[-1] += new.detach()
            self.group.add_up(self.sums)
            if anchor is not None:
                anchor.add_gradient(self.model)
            batch_loss = float(self.sums[-1])
            # The gradient too: where it alone is not finite, an epoch's last step would spoil its checkpoint unseen. A
            # sum is finite only where all that is in it is, and takes a tenth of the time of torch.isfinite(...).all().
            if not math.isfinite(float(self.sums.sum())):
                where = f"dataset {dataset.name!r}, epoch {seed[2] + 1}, step {step + 1} of {len(sizes)}"
                what = f"the loss is {batch_loss}" + (", its gradient not finite" if math.isfinite(batch_loss) else "")
                raise NonFiniteLossError(f"{where}: {what}: write a lower learning_rate or a gradient_clip")
            self._step(float(rate))
            used.append(self.optimizer.param_groups[0]["lr"])
            total, seen = total + batch_loss, seen + len(batch)
            on_step(step, seen)
        return EpochResult(total / seen, seen, used[0], used[-1], time.perf_counter() - started)

    def _batches(self, dataset: EncodedDataset, seed: tuple[int, int, int], pool: int) -> tuple[list[int], Iterable[Int64]]:
        """The sizes of an epoch's global batches, and their samples."""
        size, count = self.training.batch_size, dataset.num_samples("train")
        if pool:
            return batch_sizes(count, size), pooled_batches(count, pool, size, seed)
        batches = epoch_batches(dataset.lengths("train"), size, seed, self.training.shuffle)
        return [len(batch) for batch in batches], batches

    def _my_pieces(self, lengths: npt.NDArray[np.int32], num_replayed: int) -> list[tuple[Int64, Int64]]:
        """This worker's places in a global batch and in what is replayed with it, cut into micro-batches together."""
        rank, size, count = self.group.rank, self.group.size, len(lengths)
        places = np.arange(count)[worker_share(count, rank, size)]
        replayed = np.arange(num_replayed)[worker_share(num_replayed, rank, size)]
        cut = max(self.micro_batch * count // (count + num_replayed), 1)
        pieces = micro_batches(places, lengths[places], cut) or ([places] if len(replayed) else [])
        return list(zip(pieces, np.array_split(replayed, max(len(pieces), 1)), strict=False))

    def _dropout_masks(self, count: int, seed: tuple[int, ...]) -> Tensor | None:
        """Masks of a whole global batch, so that a sample's mask does not depend on the worker that has it."""
        if self.model.dropout == 0:
            return None
        random = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        keep = torch.rand((count, *self.model.mask_shape), generator=random) >= self.model.dropout
        return (keep / (1 - self.model.dropout)).to(self.device)

    def _outputs(self, batch: Batch, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        outputs = outputs_of(self.model, batch, self.training, masks)
        return outputs, torch.from_numpy(batch.targets).to(self.device)

    def _away(self, teacher: Teacher, together: Batch, replayed: Sequence[Batch], outputs: Tensor) -> Tensor:
        """How far the outputs for all samples together are from the teacher's, summed and weighted."""
        if not (teacher.of_new or replayed):
            return outputs.new_zeros(())
        with torch.no_grad():
            taught = outputs_of(teacher.model, together if teacher.of_new else joined(replayed), self.training)
        return teacher.strength * distillation_sum(outputs[-len(taught) :], taught, self.settings, teacher.known)

    def _step(self, rate: float) -> None:
        clip = self.training.gradient_clip
        if clip > 0:
            norm = torch.linalg.vector_norm(self.sums[:-1])
            self.sums[:-1].mul_(torch.clamp(clip / (norm + 1e-6), max=1.0))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()

    def evaluate(self, dataset: EncodedDataset, split: str) -> ErrorSums:
        """The exact sums of the errors over all samples of a split, over all workers; see evaluate_all."""
        return self.evaluate_all([dataset], split)[0]

    def evaluate_all(self, datasets: Sequence[EncodedDataset], split: str) -> list[ErrorSums]:
        """For each dataset the exact sums of the errors over all samples of a split, over all workers.

        Raises NonFiniteLossError, on all workers, where an error is not finite: the weights have left all bounds.
        """
        if not datasets:
            return []
        self.model.eval()
        with torch.inference_mode():
            own = [self._own_errors(dataset, split).to_tensor() for dataset in datasets]
        # On the model's device: NCCL adds up nothing that lies elsewhere.
        totals = self.group.add_up(torch.cat(own).to(self.device)).cpu().view(len(own), -1)
        for dataset, total in zip(datasets, totals, strict=True):
            # The loss alone may overflow float32 where the errors, in float64, do not.
            if not total[3:].isfinite().all() or total[2].isnan():
                raise NonFiniteLossError(
                    f"dataset {dataset.name!r}, {split}: the error is not finite: write a lower learning_rate or a "
                    "gradient_clip, or correct values that are too large"
                )
        return [ErrorSums.from_tensor(total) for total in totals]

    def _own_errors(self, dataset: EncodedDataset, split: str) -> ErrorSums:
        """The sums of the errors over this worker's share of a split."""
        sums = ErrorSums.zero(len(dataset.prepared.targets))
        share = range(dataset.num_samples(split))[worker_share(dataset.num_samples(split), self.group.rank, self.group.size)]
        for start in range(share.start, share.stop, MEASURED_TOGETHER):
            mine = np.arange(start, min(start + MEASURED_TOGETHER, share.stop))
            for samples in micro_batches(mine, dataset.lengths(split, mine), self.evaluated_batch):
                sums.add(*self._outputs(dataset.batch(split, samples), None), self.settings)
        return sums
