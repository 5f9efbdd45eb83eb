"""Unchanged head corrections are stored only in an earlier checkpoint, which the record names.

Without replay a dataset's correction does not change after its stage. With 500 datasets, corrections are 99 % of a state.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a look-up needs no torch
    from torch import Tensor

OF_A_HEAD = re.compile(r"(?:.+\.)?corrections\.(\d+)\.\w+")


def head_of(name: str) -> str | None:
    """Return the dataset of the head correction that a weight or a moment belongs to; None if there is none."""
    match = OF_A_HEAD.fullmatch(name)
    return match[1] if match else None


def heads_in(names: Iterable[str]) -> set[str]:
    """Return the datasets with a head correction among these names of weights."""
    return {number for name in names if (number := head_of(name)) is not None}


def without(tensors: Mapping[str, Tensor], heads: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors that do not belong to these head corrections."""
    return {name: value for name, value in tensors.items() if head_of(name) not in heads}


def by_head(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each head correction, by dataset."""
    heads: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if (number := head_of(name)) is not None:
            heads.setdefault(number, {})[name] = value
    return heads
