"""Errors that a message is enough for: what a person gave is wrong, or work failed and they can do something about it."""

from __future__ import annotations

from collections.abc import Iterable

IN_RECIPE = "in [data], or in the [[datasets]] entry where other datasets have another"  # where a setting can be written


class InputError(ValueError):
    """One or more things are wrong with the input; nothing was written.

    Each message names the place, the value seen and what to write instead. The command line prints them all and
    exits with 2.
    """

    def __init__(self, messages: str | Iterable[str]):
        self.messages = [messages] if isinstance(messages, str) else list(messages)
        super().__init__("\n".join(self.messages))

    def __reduce__(self) -> tuple[type[InputError], tuple[list[str]]]:
        return InputError, (self.messages,)


class FailedError(Exception):
    """Work failed although the input is right. The message says what to do; the command line prints it and exits with 1."""
