"""Ctrl-C ends a command with one line and exit code 130, however early it comes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from workflows.cli.application import errors_and_ray
from workflows.cli.interrupts import INTERRUPTED, WORDS, Once, leave_at_once, was_interrupted

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


def test_an_interrupt_while_the_program_loads_ends_it_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", WHILE_IT_LOADS], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", f"{WORDS}\n")


def test_an_interrupt_in_a_command_exits_with_130_even_inside_an_import(capsys: pytest.CaptureFixture[str]) -> None:
    broken = ImportError("cannot load module more than once")
    broken.__context__ = KeyboardInterrupt()
    for error in (KeyboardInterrupt(), broken):
        with pytest.raises(typer.Exit) as raised, errors_and_ray():
            raise error
        assert raised.value.exit_code == INTERRUPTED
        assert capsys.readouterr().err == f"{WORDS}\n"
    assert not was_interrupted(ImportError("no module"))


@pytest.fixture
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises_once_and_is_ignored_while_the_command_ends(number: signal.Signals) -> None:
    signal.signal(signal.SIGINT, leave_at_once)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    once = Once()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    signal.raise_signal(number)
    signal.raise_signal(signal.SIGINT)
    once.restore()
    signal.raise_signal(signal.SIGINT)  # the program is ending


@pytest.mark.usefixtures("handlers")
def test_a_process_that_ignores_ctrl_c_or_a_hang_up_still_ignores_them() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    once = Once()
    assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    once.restore()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Once().restore()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


IMPATIENT = """
import signal
from workflows.cli import interrupts
interrupts.leave_on_ctrl_c()
once = interrupts.Once()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    once.raised_at -= 2 * interrupts.PATIENCE_S
    signal.raise_signal(signal.SIGINT)
print("it goes on")
"""


def test_a_command_that_does_not_end_is_ended_by_another_ctrl_c() -> None:
    done = subprocess.run([sys.executable, "-c", IMPATIENT], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", f"{WORDS}\n")
