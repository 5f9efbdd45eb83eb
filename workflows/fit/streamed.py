"""Datasets whose rows do not fit on a device: a thread gathers them and copies them during the previous step."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from data.prepared.encoding import Batch, EncodedDataset
from workflows.fit.replay import Replay, concatenate
from workflows.fit.resident import Buckets
from workflows.fit.steps import Piece, Step
from workflows.fit.taken import Taken, pinned

AHEAD = 4  # steps gathered ahead
SLOTS = 2  # buffers on the device: the current step reads one, the next samples are copied to the other


class Slot:
    """The device buffer of one step's samples, with an event for when it is free."""

    def __init__(self, device: torch.device, samples: int, steps: int, features: int, example: Batch):
        targets = torch.from_numpy(example.targets)
        known = (1, 0, 0) if example.known is None else example.known.shape
        self.known = torch.zeros(samples, *known[1:], device=device)
        self.inputs = torch.zeros(samples * steps * features, device=device)
        self.lengths = torch.zeros(samples, dtype=torch.int64, device=device)
        self.targets = torch.zeros(samples, *targets.shape[1:], dtype=targets.dtype, device=device)
        self.weights = torch.ones(samples, device=device)
        self.free = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]


class Streamed:
    """The samples of an epoch's steps, gathered on the host. Recorded steps read from one of two buffers."""

    def __init__(self, device: torch.device):
        self.device = device
        self.copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.gatherer = ThreadPoolExecutor(1, "gather")
        self.slots: list[Slot] = []
        self.room = 0
        self.waiting: deque[Step] = deque()
        self.gathered: deque[Future[list[Taken]]] = deque()
        self.shape: tuple[tuple[int, int, int], ...] = ()
        self.slot = 0
        self.opened: tuple[object, ...] = ()

    def open(self, dataset: EncodedDataset, replay: Replay) -> bool:
        """Start an epoch; returns whether anything moved."""
        self.waiting.clear()
        while self.gathered:
            self.gathered.popleft().cancel()
        changed = self.opened != (dataset, *replay.datasets)
        if changed:
            self.opened = (dataset, *replay.datasets)
            self.buckets = Buckets(np.concatenate([each.lengths("train") for each in (dataset, *replay.datasets)]))
            self.slots, self.room = [], 0
            self.weighted = any(each.weighted for each in (dataset, *replay.datasets))
        self.dataset, self.replay = dataset, replay
        return changed

    def load(self, steps: Sequence[Step]) -> bool:
        """Load the samples of the next steps; returns whether their buffers have moved in memory."""
        self.waiting.extend(steps)
        most = max(sum(step.counts[2:]) for step in steps)
        moved = most > self.room
        if moved:
            example = self.dataset.batch("train", np.zeros(1, np.int64))
            longest, features = self.buckets.longest, self.dataset.num_features
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # the current step may still read the old buffers
            self.slots = [Slot(self.device, most, longest, features, example) for _ in range(SLOTS)]
            self.room = most
        self._gather_ahead()
        return moved

    def begin(self, step: Step) -> Hashable:
        """Copy the samples of a step; the current stream waits for them, the host does not."""
        samples = self.gathered.popleft().result()
        self._gather_ahead()
        self.slot = step.number % SLOTS
        slot = self.slots[self.slot]
        if self.copies is None:
            self._copy(samples, slot)
        else:
            if slot.free is not None:
                self.copies.wait_event(slot.free)
            with torch.cuda.stream(self.copies):
                self._copy(samples, slot)
            torch.cuda.current_stream(self.device).wait_stream(self.copies)
        self.shape = tuple((each.num_new, len(each.inputs) - each.num_new, each.inputs.shape[1]) for each in samples)
        return (self.slot, self.shape)

    def end(self) -> None:
        """Note that the last step is launched: its buffer is free when it is done."""
        free = self.slots[self.slot].free
        if free is not None:
            free.record(torch.cuda.current_stream(self.device))

    def pieces(self) -> Iterator[Taken]:
        """Return the samples of the step that began last."""
        slot, row, number = self.slots[self.slot], 0, 0
        for num_new, num_replayed, steps in self.shape:
            count = num_new + num_replayed
            size = count * steps * self.dataset.num_features
            inputs = slot.inputs[number : number + size].view(count, steps, -1)
            lengths = None if self.buckets.uniform else slot.lengths[row : row + count]
            weights = slot.weights[row : row + count] if self.weighted else None
            known = slot.known[row : row + count] if slot.known.numel() else None
            yield Taken(inputs, lengths, slot.targets[row : row + count], num_new, weights=weights, known=known)
            row, number = row + count, number + size

    def _gather_ahead(self) -> None:
        while self.waiting and len(self.gathered) < AHEAD:
            self.gathered.append(self.gatherer.submit(self._gather, self.waiting.popleft(), self.replay))

    def _gather(self, step: Step, replay: Replay) -> list[Taken]:
        return [self._gather_piece(step, piece, replay) for piece in step.pieces]

    def _gather_piece(self, step: Step, piece: Piece, replay: Replay) -> Taken:
        """Return a piece in pinned memory, padded to a bucket."""
        new = self.dataset.batch("train", step.batch[piece.new])
        batch = concatenate([new, *replay.batches(step.owners[piece.replayed], step.old[piece.replayed])])
        steps, pin = self.buckets.steps(batch.lengths), self.device.type == "cuda"
        inputs = torch.zeros(len(batch.inputs), steps, batch.inputs.shape[2], pin_memory=pin)
        inputs[:, : batch.inputs.shape[1]] = torch.from_numpy(batch.inputs)
        lengths, targets = (
            pinned(torch.from_numpy(batch.lengths), self.device),
            pinned(torch.from_numpy(batch.targets), self.device),
        )
        weights = None if batch.weights is None else pinned(torch.from_numpy(batch.weights), self.device)
        known = None if batch.known is None else pinned(torch.from_numpy(batch.known), self.device)
        return Taken(inputs, lengths, targets, len(piece.new), weights=weights, known=known)

    def _copy(self, samples: Sequence[Taken], slot: Slot) -> None:
        row, number = 0, 0
        for each in samples:
            assert each.lengths is not None
            count, size = len(each.inputs), each.inputs.numel()
            slot.inputs[number : number + size].copy_(each.inputs.view(-1), non_blocking=True)
            slot.lengths[row : row + count].copy_(each.lengths, non_blocking=True)
            slot.targets[row : row + count].copy_(each.targets, non_blocking=True)
            if each.known is not None:
                slot.known[row : row + count].copy_(each.known, non_blocking=True)
            if each.weights is not None:
                slot.weights[row : row + count].copy_(each.weights, non_blocking=True)
            elif self.weighted:
                slot.weights[row : row + count].fill_(1.0)
            row, number = row + count, number + size
