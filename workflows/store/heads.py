"""Corrections of the head that did not change since an earlier checkpoint are written there alone; the record says where.

Without replay a dataset's correction stays as its stage left it. With 500 datasets they are all but a hundredth of a state.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a look-up needs no torch
    from torch import Tensor

OF_A_HEAD = re.compile(r"(?:.+\.)?corrections\.(\d+)\.\w+")


def head_of(name: str) -> str | None:
    """Return the number of the dataset whose correction a weight or a moment is part of; None where it is of none."""
    found = OF_A_HEAD.fullmatch(name)
    return found[1] if found else None


def heads_in(names: Iterable[str]) -> set[str]:
    """Return the numbers of the datasets that have a correction among the weights of these names."""
    return {number for name in names if (number := head_of(name)) is not None}


def without(tensors: Mapping[str, Tensor], heads: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors but for those of these corrections."""
    return {name: value for name, value in tensors.items() if head_of(name) not in heads}


def by_head(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each correction."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if (number := head_of(name)) is not None:
            found.setdefault(number, {})[name] = value
    return found
