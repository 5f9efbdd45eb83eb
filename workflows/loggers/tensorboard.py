"""Write runs/NAME/events for TensorBoard, with tensorboardX, which Ray Tune installs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflows.store.store import Store


class TensorBoard:
    """One event file for a run; it replaces the file of the last call.

    In a local store each number is flushed at once; for an object store the file is copied by `copy` and `close`. A write
    error does not end the run.
    """

    def __init__(self, store: Store, name: str):
        self.store, self.events = store, f"runs/{name}/events"
        self.temporary = None if store.storage.local else tempfile.TemporaryDirectory(prefix="lstm-relay-")
        self.folder = Path(store.address) / self.events if self.temporary is None else Path(self.temporary.name)
        self.writer: Any = None
        with contextlib.suppress(OSError):
            store.storage.remove(self.events)

    def _open(self) -> Any:
        # Imported at the first number: tensorboardX imports torch, which would delay the start.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.folder.mkdir(parents=True, exist_ok=True)
        writer = EventsWriter(str(self.folder / "events"), ".lstm-relay")
        # An open TensorBoard drops the numbers of the earlier file when it reads this record.
        writer.write_event(Event(session_log=SessionLog(status=SessionLog.START)))
        return writer

    def log(self, step: int, when: float, numbers: Mapping[str, float]) -> None:
        """Write numbers by name at an optimizer step."""
        with contextlib.suppress(OSError):
            self.writer = self.writer or self._open()
            from tensorboardX.proto.event_pb2 import Event
            from tensorboardX.proto.summary_pb2 import Summary

            for tag, number in numbers.items():
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=number)])
                self.writer.write_event(Event(wall_time=when, step=step, summary=summary))
            self.writer.flush()

    def copy(self) -> None:
        """For an object store, copy what was written so far to the run."""
        if self.temporary is not None and self.writer is not None:
            for path in self.folder.iterdir():
                self.store.storage.write(f"{self.events}/{path.name}", path.read_bytes())

    def close(self) -> None:
        """Close the file; for an object store, copy it to the run."""
        with contextlib.suppress(OSError):
            if self.writer is not None:
                self.writer.close()
            self.copy()
        if self.temporary is not None:
            self.temporary.cleanup()
