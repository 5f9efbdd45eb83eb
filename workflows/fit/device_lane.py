"""Rows on a GPU, and whole steps as CUDA graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from data.prepared.encoding import EncodedDataset
from workflows.fit.graphs import Graphs
from workflows.fit.lanes import HostLane, Lane, Masks, one_or_each
from workflows.fit.resident import Resident
from workflows.fit.retention import Retention
from workflows.fit.steps import Int64, Step
from workflows.fit.streamed import Streamed
from workflows.fit.taken import Taken, pinned


def lane_for(device: torch.device, memory_bytes: int | None = None) -> Lane:
    """The lane of a device; `memory_bytes` limits the rows that live on a GPU, by default half of what is free."""
    if device.type != "cuda":
        return HostLane(device)
    if memory_bytes is None:
        memory_bytes = torch.cuda.mem_get_info(device)[0] // 2
    return DeviceLane(device, memory_bytes)


class DeviceLane:
    """Nothing waits for the device: each kind of step is recorded as a CUDA graph. On a CPU, in tests, without graphs.

    Samples and rates are sent there some hundred steps at a time; losses are noted there, and read when they are all done.
    """

    steps_together = 64

    def __init__(self, device: torch.device, memory_bytes: int):
        self.device = device
        self.graphs = Graphs(device) if device.type == "cuda" else None
        self.resident, self.streamed = Resident(device, memory_bytes), Streamed(device)
        self.is_resident = True
        self.host = HostLane(device)
        self.opened: tuple[object, ...] = ()
        self.place = torch.zeros(1, dtype=torch.int64, device=device)  # of the step under way among those loaded
        self.rates = torch.zeros(self.steps_together, device=device)
        self.noted = torch.zeros(self.steps_together, 2, device=device)
        self.loaded = 0
        self.shape: Hashable = ()
        self.masks_there = torch.zeros(0, device=device)
        self.owners_there: Tensor | int | None = None
        self.sent: list[tuple[Tensor, torch.cuda.Event | None]] = []

    def new_optimizer(self, parameters: list[torch.nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
        """See Lane."""
        there = torch.tensor(rate, device=self.device)
        capturable = self.device.type == "cuda"
        return torch.optim.AdamW(parameters, lr=there, weight_decay=decay, fused=True, capturable=capturable)

    def forget(self) -> None:
        """See Lane."""
        self.opened = ()

    def open(self, dataset: EncodedDataset, retention: Retention, masks: Masks) -> None:
        """See Lane."""
        self.masks = masks
        self.sent.clear()
        if self.graphs is not None:
            self.graphs.stream.synchronize()  # also where an epoch ended in an error
        datasets = [dataset, *retention.replay.datasets]
        self.is_resident = self.resident.fit(datasets)
        changed = self.resident.open(datasets) if self.is_resident else self.streamed.open(dataset, retention.replay)
        opened = (dataset, retention, self.is_resident)
        if changed or self.opened != opened:
            self._moved()
        self.opened = opened

    def load(self, steps: Sequence[Step], rates: Sequence[float]) -> None:
        """See Lane."""
        with self._stream():
            self.loaded = len(steps)
            self.rates[: len(rates)].copy_(pinned(torch.tensor(rates, dtype=torch.float32), self.device), non_blocking=True)
            self.place.zero_()
            if self.resident.load(steps) if self.is_resident else self.streamed.load(steps):
                self._moved()

    def run(self, step: Step, part: str, work: Callable[[], None]) -> None:
        """See Lane."""
        with self._stream():
            masks = None if part == "update" else self.masks(step)
            if masks is not None:
                self._send_masks(masks[torch.from_numpy(step.mask_rows)])
            if part != "update":
                self._send_owners(step)
            if part != "update":
                self.shape = self.resident.begin(step) if self.is_resident else self.streamed.begin(step)
            if self.graphs is None:
                work()
            else:
                self.graphs.run((part, self.shape, step.kind), work)
            if part != "update" and not self.is_resident:
                self.streamed.end()

    def between(self, work: Callable[[], object]) -> None:
        """See Lane."""
        with self._stream():
            work()

    def pieces(self) -> Iterator[Taken]:
        """See Lane."""
        at = 0
        for piece in self.resident.pieces(self.place) if self.is_resident else self.streamed.pieces():
            count = len(piece.inputs)
            masks = self.masks_there[at : at + count] if len(self.masks_there) else None
            owners = self.owners_there[at : at + count] if isinstance(self.owners_there, Tensor) else self.owners_there
            yield replace(piece, masks=masks, owners=owners)
            at += count

    def end_step(self, optimizer: torch.optim.Optimizer, loss: Tensor, total: Tensor) -> None:
        """See Lane."""
        self.noted.index_copy_(0, self.place, torch.stack([loss, total])[None])
        for group in optimizer.param_groups:
            group["lr"].copy_(self.rates.index_select(0, self.place)[0])
        self.place.add_(1)

    def rate_of(self, optimizer: torch.optim.Optimizer) -> float:
        """See Lane; to the seven digits that the device has of it."""
        with self._stream():
            return float(f"{float(optimizer.param_groups[0]['lr']):.7g}")

    def read(self, everything: bool) -> list[tuple[float, float]]:
        """See Lane."""
        with self._stream():
            own, event = self.noted[: self.loaded].to("cpu", non_blocking=True, copy=True), None
            if self.graphs is not None:
                event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                event.record(self.graphs.stream)
        self.sent.append((own, event))
        found: list[tuple[float, float]] = []
        while self.sent and (everything or len(self.sent) > 1):
            values, event = self.sent.pop(0)
            if event is not None:
                event.synchronize()
            found += [(loss, total) for loss, total in values.tolist()]
        return found

    def batch(self, dataset: EncodedDataset, split: str, samples: Int64) -> Taken:
        """See Lane."""
        return self.resident.batch(dataset, split, samples) or self.host.batch(dataset, split, samples)

    def _send_masks(self, masks: Tensor) -> None:
        """Put this worker's masks of a step where its graph looks for them."""
        if self.masks_there.shape[1:] != masks.shape[1:] or len(self.masks_there) < len(masks):
            self.masks_there = torch.zeros(masks.shape, device=self.device)
            self._moved()
        self.masks_there[: len(masks)].copy_(pinned(masks, self.device), non_blocking=True)

    def _send_owners(self, step: Step) -> None:
        """Put the datasets of this worker's samples of a step where its graph looks for them."""
        owners = step.piece_owners
        whose = None if owners is None else one_or_each(step, owners)
        if not isinstance(whose, Tensor):
            self.owners_there = whose
            return
        if not isinstance(self.owners_there, Tensor) or len(self.owners_there) < len(whose):
            self.owners_there = torch.zeros(len(whose), dtype=torch.int64, device=self.device)
            self._moved()
        self.owners_there[: len(whose)].copy_(pinned(whose, self.device), non_blocking=True)

    def _moved(self) -> None:
        """What recorded steps read or write is elsewhere now."""
        if self.graphs is not None:
            self.graphs.clear()
            self.graphs.stream.wait_stream(torch.cuda.current_stream(self.device))

    def _stream(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if self.graphs is None else torch.cuda.stream(self.graphs.stream)
