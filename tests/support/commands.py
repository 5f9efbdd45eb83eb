"""Calls of the command lines `lstm-relay` and `python -m cluster` in this process."""

from __future__ import annotations

import functools

import typer.testing
from typer.testing import CliRunner

from workflows.cli.commands import app
from workflows.cli.on_cluster import app as cluster_app

ENTRANCES = {"workflows": app, "cluster": cluster_app}
# Typer reads the parameters of all commands at each call, which was half of most calls' time; here it reads them once.
typer.testing._get_command = functools.cache(typer.testing._get_command)


def invoke(*words: str, entrance: str = "workflows") -> tuple[int, str, str]:
    """Return exit code, stdout and stderr; an exception that the command does not turn into a message is raised."""
    result = CliRunner().invoke(ENTRANCES[entrance], list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
