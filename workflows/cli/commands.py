"""The application with all its commands, in the order that `--help` lists them."""

from __future__ import annotations

import workflows.cli.history
import workflows.cli.inspecting
import workflows.cli.reporting
import workflows.cli.running
import workflows.cli.schema
import workflows.cli.using  # noqa: F401 - each file of commands adds its own to the application
from workflows.cli.application import app

__all__ = ["app"]
LISTED = [
    "train",
    "search",
    "extend",
    "compare",
    "prepare",
    "inspect",
    "report",
    "evaluate",
    "predict",
    "export",
    "runs",
    "log",
    "rollback",
    "clean",
    "verify",
    "schema",
]
app.registered_commands.sort(key=lambda command: LISTED.index(command.callback.__name__) if command.callback else -1)
