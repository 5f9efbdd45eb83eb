"""The commands of both entrances, called as a person calls them."""

from __future__ import annotations

import functools

import typer.testing
from typer.testing import CliRunner

from cluster.__main__ import app as cluster_app
from workflows.cli.commands import app

ENTRANCES = {"workflows": app, "cluster": cluster_app}
# The parameters of all commands are read from their signatures once, not at each call: that was half of most calls' time.
typer.testing._get_command = functools.cache(typer.testing._get_command)


def invoke(*words: str, entrance: str = "workflows") -> tuple[int, str, str]:
    """Exit code, what stands on stdout and what on stderr; an error that is not told as one is raised."""
    result = CliRunner().invoke(ENTRANCES[entrance], list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
