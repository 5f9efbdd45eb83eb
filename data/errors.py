"""Errors that a message is enough for: what a person gave is wrong, or work failed and they can do something about it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

IN_RECIPE = "in [data], or in the [[datasets]] entry where other datasets have another"  # where a setting can be written

KEYS_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]*@")


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


def plain(text: str) -> str:
    """Return text that a terminal shows as it is: control and bidirectional characters are escaped, keys are hidden."""
    text = KEYS_IN_ADDRESS.sub("***@", text)
    return "".join(each if each in "\n\t" or not _acts(each) else each.encode("unicode_escape").decode() for each in text)


def _acts(letter: str) -> bool:
    """Whether a character does something to what is around it, instead of being shown."""
    return unicodedata.category(letter) in ("Cc", "Cs") or unicodedata.bidirectional(letter) in (
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    )  # fmt: skip
