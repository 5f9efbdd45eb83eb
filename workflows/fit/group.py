"""The workers of a run as a group: sums over all of them, and broadcasts from the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """A worker's rank among the workers. Without torch.distributed the group is this process alone."""

    rank: int = 0
    size: int = 1

    @staticmethod
    def current() -> Group:
        """Return the group of the default process group, or this process alone."""
        return Group(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Group()

    def add_up(self, values: Tensor) -> Tensor:
        """Sum over the workers, in place; all of them must call it."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def from_first(self, word: Any) -> Any:
        """Return the first worker's value at every worker; all of them must call it."""
        if self.size == 1:
            return word
        box = [word]
        dist.broadcast_object_list(box, src=0)
        return box[0]
