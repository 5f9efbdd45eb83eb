"""Head corrections that did not change are stored in an earlier checkpoint alone; the record says in which one.

Without replay a dataset's correction stays as its stage left it. With 500 datasets they are all but a hundredth of a
state.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a look-up needs no torch
    from torch import Tensor

OF_A_HEAD = re.compile(r"(?:.+\.)?corrections\.(\d+)\.\w+")


def head_of(name: str) -> str | None:
    """Return the dataset whose head correction a weight or a moment belongs to; None if it belongs to none."""
    found = OF_A_HEAD.fullmatch(name)
    return found[1] if found else None


def heads_in(names: Iterable[str]) -> set[str]:
    """Return the datasets with a head correction among these names of weights."""
    return {number for name in names if (number := head_of(name)) is not None}


def without(tensors: Mapping[str, Tensor], heads: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors without those of these head corrections."""
    return {name: value for name, value in tensors.items() if head_of(name) not in heads}


def by_head(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each head correction."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if (number := head_of(name)) is not None:
            found.setdefault(number, {})[name] = value
    return found
