"""Memory that a step frees is reused by the next one."""

from __future__ import annotations

import resource

import pytest
import torch

from data.prepared.allocator import keep_freed_memory


def test_freed_memory_is_not_requested_from_the_system_again() -> None:
    if not keep_freed_memory():
        pytest.skip("this C library has no mallopt")
    for _ in range(20):  # until the allocator has enough memory
        torch.ones(5_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(5_000_000)  # 20 MB: 4,883 pages
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 4_883
