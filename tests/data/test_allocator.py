"""Memory that a step frees is there for the next one."""

from __future__ import annotations

import resource

import pytest
import torch

from data.prepared.allocator import keep_freed_memory


def test_what_was_freed_is_not_asked_of_the_system_again() -> None:
    if not keep_freed_memory():
        pytest.skip("this C library has no mallopt")
    for _ in range(20):  # until its addresses settle
        torch.ones(5_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(5_000_000)  # 20 MB: 4,883 pages
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 4_883
