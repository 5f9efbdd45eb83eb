"""What tests share: one Ray for all that need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A Ray of this test session's own, with the settings that a run gives it."""
    from cluster.connect import connect, disconnect

    connect(num_cpus=2)
    yield
    disconnect()
