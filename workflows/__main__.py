"""The command line: `lstm-relay COMMAND`, or `python -m workflows COMMAND`."""

from __future__ import annotations

from workflows.cli.interrupts import leave_on_ctrl_c


def main(program: str = "lstm-relay") -> None:
    """Run the console command `lstm-relay`."""
    leave_on_ctrl_c()
    from workflows.cli.commands import app  # takes a while

    app(prog_name=program)


if __name__ == "__main__":
    main("python -m workflows")
