"""The weight of an earlier dataset in a step is `strength`, however the number of its samples is rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows import train
from workflows.fit.replay import Replay


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 5), st.floats(0.01, 4.0))
def test_all_replayed_samples_of_a_step_weigh_strength_times_the_new_ones_for_each_dataset(
    new: int, old: int, datasets: int, strength: float
) -> None:
    replay = Replay((), [np.arange(3)] * datasets, 0.3, strength)
    assert replay.weight(new, old) * old == pytest.approx(strength * datasets * new)
    assert replay.weight(new, 0) == 0


@pytest.mark.filterwarnings("ignore:.*is constant")
@pytest.mark.parametrize(
    ("share", "strength", "batch", "new"),
    [(0.01, 0.4, 32, 64), (0.4, 0.4, 32, 33), (0.4, 0.4, 32, 5)],
    ids=["one for a batch of 32", "a tail batch of one", "a small dataset"],
)
def test_the_forecast_converges_to_the_weighted_optimum(
    share: float, strength: float, batch: int, new: int, tmp_path: Path
) -> None:
    """Train on constant inputs with targets +1 in A and -1 in B: the minimum is (w - 1) / (w + 1) for a weight w of A."""
    data = {"A": (np.zeros((64, 4, 1)), np.ones((64, 1))), "B": (np.zeros((new, 4, 1)), -np.ones((new, 1)))}
    settings = {"share": share, "strength": strength, "batch_size": batch, "hidden_size": 4, "decay_rate": 1.0}
    keys = {"method": "replay", "epochs": 60, "learning_rate": 0.02, "schedule": "cosine", "head": "shared", **settings}
    result = train(data, storage=tmp_path, **keys)
    settled = float(result.predict(np.zeros((1, 4, 1)), dataset="A")[0, 0])
    assert (1 + settled) / (1 - settled) == pytest.approx(strength, rel=0.2)  # it was 1.26, 0.64 and 0.5
