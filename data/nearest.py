"""Find the name that a misspelt one probably means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

ALIKE = 0.6  # of difflib's ratio: share of letters in common


def nearest(name: str, known: Iterable[str], alike: float = ALIKE) -> str | None:
    """Return the most similar known name, ignoring case and outer blanks; None if none is similar enough."""
    by_plain = {each.strip().lower(): each for each in reversed(list(known))}
    near = difflib.get_close_matches(name.strip().lower(), by_plain, 1, alike)
    return by_plain[near[0]] if near else None
