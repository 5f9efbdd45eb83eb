"""Errors that are shown as a message: wrong input, or failed work that the user can fix."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

IN_RECIPE = "in [data], or in this [[datasets]] entry"  # where a setting can be written

KEYS_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]*@")


class InputError(ValueError):
    """The input is wrong and nothing was written; each message names the location, the value and what to write instead.

    The command line prints all messages and exits with 2.
    """

    def __init__(self, messages: str | Iterable[str]):
        self.messages = [messages] if isinstance(messages, str) else list(messages)
        super().__init__("\n".join(self.messages))

    def __reduce__(self) -> tuple[type[InputError], tuple[list[str]]]:
        return InputError, (self.messages,)


class FailedError(Exception):
    """Work failed although the input is valid. The message says what to do; the command line prints it and exits with 1."""


def plain(text: str) -> str:
    """Return text that is safe to print: control and bidirectional characters are escaped, access keys hidden."""
    text = KEYS_IN_ADDRESS.sub("***@", text)
    return "".join(each if each in "\n\t" or not _acts(each) else each.encode("unicode_escape").decode() for each in text)


def _acts(letter: str) -> bool:
    """Return whether a character changes the text around it instead of being shown."""
    return unicodedata.category(letter) in ("Cc", "Cs") or unicodedata.bidirectional(letter) in (
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    )  # fmt: skip
