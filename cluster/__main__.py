"""The command line `python -m cluster COMMAND`. As an entrance it knows workflows/cli; nothing imports it."""

from __future__ import annotations

if __name__ == "__main__":
    from workflows.cli.on_cluster import app

    app(prog_name="python -m cluster")
