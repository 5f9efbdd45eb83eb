"""Rows on a GPU, and whole steps as CUDA graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from data.prepared.encoding import EncodedDataset
from models.lstm import LSTM
from models.settings import ModelSettings
from workflows.fit.gradients import only_heads, step_unless
from workflows.fit.graphs import Graphs
from workflows.fit.joint import Joint
from workflows.fit.lanes import HostLane, Lane, Masks
from workflows.fit.resident import Resident
from workflows.fit.retention import Retention
from workflows.fit.steps import Int64, Step
from workflows.fit.streamed import Streamed
from workflows.fit.taken import Taken, pinned
from workflows.fit.threads import Replica


def lane_for(device: torch.device, model: ModelSettings, memory_gb: float | None = None, threads: int = 1) -> Lane:
    """Return the lane of a device for a model.

    A CPU has `threads`; `memory_gb` limits the rows kept on a GPU, by default to half of its free memory. Samples
    with class weights are gathered on the host.
    """
    if device.type != "cuda" or model.class_weights is not None:
        return HostLane(device, threads)
    return DeviceLane(device, torch.cuda.mem_get_info(device)[0] // 2 if memory_gb is None else int(memory_gb * 1e9))


class DeviceLane:
    """The steps of a GPU: each kind of step is recorded as a CUDA graph, and the host never waits for one.

    Tests run it on a CPU, without graphs. Samples and rates are sent a few hundred steps at a time; losses are stored on the
    device and read when these steps are done.
    """

    steps_together = 64
    threads = 1

    def __init__(self, device: torch.device, memory_bytes: int):
        self.device = device
        self.graphs = Graphs(device) if device.type == "cuda" else None
        self.resident, self.streamed = Resident(device, memory_bytes), Streamed(device)
        self.is_resident = True
        self.host = HostLane(device)
        self.opened: tuple[object, ...] = ()
        self.position = torch.zeros(1, dtype=torch.int64, device=device)  # of the current step among the loaded ones
        self.rates = torch.zeros(self.steps_together, device=device)
        self.noted = torch.zeros(self.steps_together, 2, device=device)
        self.loaded = 0
        self.shape: Hashable = ()
        self.device_masks = torch.zeros(0, device=device)
        self.heads: tuple[int, ...] = ()
        self.owners = torch.zeros(self.steps_together, 0, dtype=torch.int64, device=device)  # of the samples of each step
        self.absent = torch.ones(self.steps_together, 0, device=device)  # 1 for each head that a step has no sample of
        self.step: Step | None = None
        self.sent: list[tuple[Tensor, torch.cuda.Event | None]] = []

    def new_optimizer(self, parameters: list[torch.nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
        """See Lane."""
        device_rate = torch.tensor(rate, device=self.device)
        capturable = self.device.type == "cuda"
        return torch.optim.AdamW(parameters, lr=device_rate, weight_decay=decay, fused=True, capturable=capturable)

    def forget(self) -> None:
        """See Lane."""
        self.opened = ()
        self.device_masks = torch.zeros(0, device=self.device)

    def open(self, dataset: EncodedDataset, retention: Retention, masks: Masks, heads: Sequence[int] = ()) -> None:
        """See Lane."""
        self.masks, self.heads = masks, tuple(heads)
        self.sent.clear()
        if self.graphs is not None:
            self.graphs.stream.synchronize()  # also after an epoch that ended in an error
        datasets = [dataset, *retention.replay.datasets]
        self.is_resident = not isinstance(dataset, Joint) and self.resident.fit(datasets)
        changed = self.resident.open(datasets) if self.is_resident else self.streamed.open(dataset, retention.replay)
        opened = (dataset, retention, self.is_resident)
        if changed or self.opened != opened:
            self._drop_recordings()
        self.opened = opened

    def load(self, steps: Sequence[Step], rates: Sequence[float]) -> None:
        """See Lane."""
        with self._stream():
            self.loaded = len(steps)
            self.rates[: len(rates)].copy_(pinned(torch.tensor(rates, dtype=torch.float32), self.device), non_blocking=True)
            self.position.zero_()
            if self.resident.load(steps) if self.is_resident else self.streamed.load(steps):
                self._drop_recordings()
            self._send_owners(steps)

    def run(self, step: Step, part: str, work: Callable[[], None]) -> None:
        """See Lane."""
        with self._stream():
            masks = None if part == "update" else self.masks(step)
            if masks is not None:
                self._send_masks(masks[torch.from_numpy(step.mask_rows)])
            if part != "update":
                self.step = step
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

    def each_piece(self, copies: Sequence[Replica], work: Callable[[Replica, Taken], None]) -> None:
        """See Lane."""
        for piece in self._pieces():
            work(copies[0], piece)

    def each(self, work: Callable[[int], None]) -> None:
        """See Lane."""
        work(0)

    def _pieces(self) -> Iterator[Taken]:
        start, step_owners = 0, self._owners()
        for piece in self.resident.pieces(self.position) if self.is_resident else self.streamed.pieces():
            count = len(piece.inputs)
            masks = self.device_masks[start : start + count] if len(self.device_masks) else None
            owners = step_owners[start : start + count] if isinstance(step_owners, Tensor) else step_owners
            yield replace(piece, masks=masks, owners=owners)
            start += count

    def end_step(self, optimizer: torch.optim.Optimizer, loss: Tensor, total: Tensor) -> None:
        """See Lane."""
        self.noted.index_copy_(0, self.position, torch.stack([loss, total])[None])
        for group in optimizer.param_groups:
            group["lr"].copy_(self.rates.index_select(0, self.position)[0])

    def optimize(self, optimizer: torch.optim.Optimizer, model: LSTM, step: Step) -> None:
        """See Lane."""
        with only_heads(model, () if step.mixed else step.heads):
            optimizer.step()
        if step.mixed:  # only the device knows which corrections have samples: the kernels are always the same
            absent = self.absent.index_select(0, self.position)[0]
            for column, number in enumerate(self.heads):
                step_unless(absent[column], optimizer, model.corrections.parameters_of(number))
        self.position.add_(1)

    def rate_of(self, optimizer: torch.optim.Optimizer) -> float:
        """See Lane; with the seven digits that the device has."""
        with self._stream():
            return float(f"{float(optimizer.param_groups[0]['lr']):.7g}")

    def read(self, everything: bool) -> list[tuple[float, float]]:
        """See Lane."""
        with self._stream():
            noted, event = self.noted[: self.loaded].to("cpu", non_blocking=True, copy=True), None
            if self.graphs is not None:
                event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                event.record(self.graphs.stream)
        self.sent.append((noted, event))
        losses: list[tuple[float, float]] = []
        while self.sent and (everything or len(self.sent) > 1):
            values, event = self.sent.pop(0)
            if event is not None:
                event.synchronize()
            losses += [(loss, total) for loss, total in values.tolist()]
        return losses

    def batch(self, dataset: EncodedDataset, split: str, samples: Int64) -> Taken:
        """See Lane."""
        resident = None if isinstance(dataset, Joint) else self.resident.batch(dataset, split, samples)
        return resident or self.host.batch(dataset, split, samples)

    def _send_masks(self, masks: Tensor) -> None:
        """Copy this worker's dropout masks of a step to the memory its graph reads."""
        if self.device_masks.shape[1:] != masks.shape[1:] or len(self.device_masks) < len(masks):
            self.device_masks = torch.zeros(masks.shape, device=self.device)
            self._drop_recordings()
        self.device_masks[: len(masks)].copy_(pinned(masks, self.device), non_blocking=True)

    def _send_owners(self, steps: Sequence[Step]) -> None:
        """Send the dataset of each sample's head correction, and the corrections that each step leaves unchanged."""
        owners = [np.empty(0, np.int64) if not step.mixed else step.piece_owners for step in steps]
        width = max(len(each) for each in owners if each is not None)
        if not width:
            return
        table, absent = np.zeros((len(steps), width), np.int64), np.ones((len(steps), len(self.heads)), np.float32)
        for row, (step, sample_owners) in enumerate(zip(steps, owners, strict=True)):
            assert sample_owners is not None
            table[row, : len(sample_owners)] = sample_owners
            absent[row] = [number not in step.heads for number in self.heads]
        if self.owners.shape[1] < width or self.absent.shape[1] != len(self.heads):
            self.owners = torch.zeros(self.steps_together, width, dtype=torch.int64, device=self.device)
            self.absent = torch.ones(self.steps_together, len(self.heads), device=self.device)
            self._drop_recordings()
        self.owners[: len(steps), :width].copy_(pinned(torch.from_numpy(table), self.device), non_blocking=True)
        self.absent[: len(steps)].copy_(pinned(torch.from_numpy(absent), self.device), non_blocking=True)

    def _owners(self) -> Tensor | int | None:
        """Return the dataset of the current step's head corrections: of all samples, or of each."""
        assert self.step is not None
        if self.step.mixed:
            return self.owners.index_select(0, self.position)[0]
        return self.step.heads[0] if self.step.heads else None

    def _drop_recordings(self) -> None:
        """Drop recorded steps, which would read or write stale memory."""
        if self.graphs is not None:
            self.graphs.clear()
            self.graphs.stream.wait_stream(torch.cuda.current_stream(self.device))

    def _stream(self) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if self.graphs is None else torch.cuda.stream(self.graphs.stream)
