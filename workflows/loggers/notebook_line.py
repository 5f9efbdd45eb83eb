"""Show a run in a notebook: one line, redrawn after each epoch."""

from __future__ import annotations

import inspect
import sys
import warnings

from workflows.relay.events import Damaged, EpochDone, Planned, Waiting
from workflows.results.events import Event, Finished


class OneLine:
    """Shows the progress of a run in one redrawn line; warnings go through Python's warnings module."""

    def __init__(self) -> None:
        self.shown = sys.stdout.isatty() or "ipykernel" in sys.modules
        self.stages = 0

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Planned):
            self.stages = len(event.plan.stages)
            for warning in event.warnings:
                warnings.warn(warning, UserWarning, stacklevel=level_of_caller())
        elif isinstance(event, Damaged | Waiting):
            warnings.warn(event.message, UserWarning, stacklevel=level_of_caller())
        elif isinstance(event, EpochDone):
            position = f"{event.dataset} ({event.stage + 1}/{self.stages})"
            self._line(f"{position}  epoch {event.epoch + 1}/{event.epochs}  loss {event.train_loss:.4f}")
        elif isinstance(event, Finished):
            self._line("")

    def _line(self, text: str) -> None:
        if self.shown:
            sys.stdout.write(f"\r{text:<78}" + ("" if text else "\r"))
            sys.stdout.flush()


def level_of_caller() -> int:
    """Return the stack level, as warnings count it, of the line outside the project that called it."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).split(".")[0] == __name__.split(".")[0]:
        frame, level = frame.f_back, level + 1
    return level
