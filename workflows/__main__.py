"""The command line: python -m workflows COMMAND."""

from __future__ import annotations

import workflows.commands.history
import workflows.commands.inspecting
import workflows.commands.reporting
import workflows.commands.running
import workflows.commands.using  # noqa: F401 - each file of commands adds its own to the application
from workflows.commands.command_line import app

LISTED = ["train", "search", "prepare", "inspect", "report", "evaluate", "predict", "runs", "log", "rollback", "clean"]
app.registered_commands.sort(key=lambda command: LISTED.index(command.callback.__name__) if command.callback else -1)

if __name__ == "__main__":
    app(prog_name="python -m workflows")
