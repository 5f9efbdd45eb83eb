"""Ctrl-C ends a command with one line and exit code 130, however early it comes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from workflows.cli.application import errors_and_ray
from workflows.cli.interrupts import INTERRUPTED, WORDS, leave_at_once, raise_on_ctrl_c, was_interrupted

ROOT = Path(__file__).parents[2]
WHILE_IT_LOADS = """
import builtins, os, signal
from workflows.__main__ import main
load = builtins.__import__
def interrupted(name, *rest, **more):
    if name == "typer":
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *rest, **more)
builtins.__import__ = interrupted
main()
"""


def test_while_the_program_is_loaded_it_ends_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", WHILE_IT_LOADS], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", f"{WORDS}\n")


def test_in_a_command_it_is_an_exception_whatever_an_import_makes_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    broken = ImportError("cannot load module more than once")
    broken.__context__ = KeyboardInterrupt()
    for error in (KeyboardInterrupt(), broken):
        with pytest.raises(typer.Exit) as raised, errors_and_ray():
            raise error
        assert raised.value.exit_code == INTERRUPTED
        assert capsys.readouterr().err == f"{WORDS}\n"
    assert not was_interrupted(ImportError("no module"))


def test_a_command_raises_on_ctrl_c_unless_it_is_ignored() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler, then in ((leave_at_once, signal.default_int_handler), (signal.SIG_IGN, signal.SIG_IGN)):
            signal.signal(signal.SIGINT, handler)
            raise_on_ctrl_c()
            assert signal.getsignal(signal.SIGINT) is then
    finally:
        signal.signal(signal.SIGINT, before)
