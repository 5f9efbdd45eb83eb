"""runs/NAME/events: the numbers of a run as it goes on, in the files that TensorBoard reads.

Written here and not by tensorboardX, which Ray brings: importing that takes 1.4 s where torch is not loaded yet, and it
holds numbers back for up to two minutes. The format is a few bytes a number: records framed as TensorFlow's TFRecord, each
an Event message of Protocol Buffers.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.prepared.encoding import EncodedDataset
from workflows.relay.events import EpochDone, EvaluationDone, RunEvent, epoch_done
from workflows.relay.metrics import forgetting, mean_of, naive_error, scaled
from workflows.relay.plan import Plan
from workflows.relay.relay import Action, Evaluate, Train
from workflows.store.kept import Errors
from workflows.store.store import Store

Facts = Mapping[str, Any]
Answered = Sequence[tuple[Action, Any]]


class EventFile:
    """Writes what a run comes to, one file for the whole of it: first what the store holds already, then what it is told.

    A step is an optimizer step of the plan, so a run that goes on continues where it was. In a folder each number is there
    at once; to an address the file is copied when it is closed. A file that cannot be written does not end the run.
    """

    def __init__(self, store: Store, name: str, plan: Plan, datasets: Sequence[EncodedDataset], answered: Answered = ()):
        self.store, self.plan = store, plan
        self.names = [dataset.name for dataset in plan.datasets]
        self.naive = {dataset.name: naive_error(dataset, "validation", plan.model.loss) for dataset in datasets}
        self.path = f"runs/{name}/events/events.out.tfevents.{time.time_ns() // 1000}.lstm-relay"
        self.content, self.num_written = b"", 0
        self.offsets = [0]
        for stage in plan.stages:
            self.offsets.append(self.offsets[-1] + stage.epochs * plan.steps_an_epoch(stage))
        self.step, self.stage, self.when = 0, 0, time.time()
        self.written: set[tuple[str, ...]] = set()
        self.rows: list[list[float | None]] = []
        self.last: dict[str, tuple[int, float]] = {}
        with contextlib.suppress(OSError):
            store.storage.remove(f"runs/{name}/events")
            store.storage.write(self.path, b"")
        # The second record tells a TensorBoard that is open to forget what the run's last file said.
        self._write(_event(self.when, 0, 3, b"brain.Event:2"), _event(self.when, 0, 7, b"\x08\x01"))
        for action, answer in answered:
            if isinstance(action, Train):
                self(epoch_done(action.epoch, plan, answer))
            elif isinstance(action, Evaluate):
                self(_evaluation(action, answer, self.names))

    def __call__(self, event: RunEvent) -> None:
        """Write the numbers of an event that has some, once."""
        if isinstance(event, EpochDone) and self._is_new(event.key):
            self.step = self.offsets[event.stage] + (event.epoch + 1) * self.plan.steps_an_epoch(
                self.plan.stages[event.stage]
            )
            self.stage, self.when = event.stage + 1, event.when
            self._add({"learning_rate": event.learning_rate, "train_loss": event.train_loss})
        elif isinstance(event, EvaluationDone) and event.split == "validation" and self._is_new(event.key, *event.errors):
            self._add_errors(event.stage, dict(event.errors))

    def _is_new(self, *mark: str) -> bool:
        known = mark in self.written
        self.written.add(mark)
        return not known

    def _add_errors(self, stage: int, errors: dict[str, float | None]) -> None:
        relative = {name: scaled(error, self.naive[name]) for name, error in errors.items()}
        numbers = {f"validation_error/{name}": error for name, error in errors.items()}
        numbers |= {f"error_over_naive/{name}": error for name, error in relative.items()}
        if len(errors) == len(self.names) > 1:  # before or after a stage, not after one of its epochs
            if stage != self.stage:
                self.step = self.offsets[stage]
            self.rows[stage:] = [list(relative.values())]
            if stage > 0 and len(self.rows) > stage:
                seen = [row[:stage] for row in self.rows]
                numbers |= {"mean_error_over_naive": mean_of(seen[-1]), "forgetting": forgetting(seen)}
        self._add(numbers)

    def _add(self, numbers: Mapping[str, float | None]) -> None:
        known = {
            tag: number
            for tag, number in numbers.items()
            if number is not None and self.last.get(tag) != (self.step, number)  # the last epoch's are the stage's too
        }
        self.last |= {tag: (self.step, number) for tag, number in known.items()}
        self._write(*(_event(self.when, self.step, 5, _summary(tag, number)) for tag, number in known.items()))

    def _write(self, *events: bytes) -> None:
        self.content += b"".join(_record(event) for event in events)
        if not self.store.storage.local:
            return
        with contextlib.suppress(OSError):  # what could not be written is written with what comes next
            with (Path(self.store.address) / self.path).open("r+b") as file:
                file.seek(self.num_written)
                file.write(self.content)
            self.num_written += len(self.content)
            self.content = b""

    def close(self) -> None:
        """Copy the file to where the run is, if it is not there."""
        with contextlib.suppress(OSError):
            if not self.store.storage.local:
                self.store.storage.write(self.path, self.content)


def _evaluation(action: Evaluate, answer: Sequence[Errors | None], names: Sequence[str]) -> EvaluationDone:
    """The event of an evaluation that was in the store."""
    errors = {names[n]: None if each is None else each.error for n, each in zip(action.datasets, answer, strict=True)}
    return EvaluationDone(action.stage, action.split, action.key, errors)


def _event(when: float, step: int, field: int, content: bytes) -> bytes:
    """tensorflow.Event: wall_time = 1, step = 2, and one of file_version = 3, summary = 5, session_log = 7."""
    return b"\x09" + struct.pack("<d", when) + b"\x10" + _varint(step) + _field(field, content)


def _summary(tag: str, number: float) -> bytes:
    """tensorflow.Summary with one value: tag = 1, simple_value = 2."""
    return _field(1, _field(1, tag.encode()) + b"\x15" + struct.pack("<f", number))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _masked(length) + content + _masked(content)


def _table() -> list[int]:
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        found.append(byte)
    return found


_CASTAGNOLI = _table()


def _masked(content: bytes) -> bytes:
    """The CRC-32C of some bytes, rotated as TFRecord wants it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CASTAGNOLI[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
