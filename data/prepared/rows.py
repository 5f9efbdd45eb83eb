"""Cut windows from the rows of a part, and renumber the codes of their labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def windows_of(values: Float32, starts: npt.NDArray[np.int64], steps: int) -> Float32:
    """Return a copy of `steps` rows from each start: (starts, steps, columns). Each window is copied as one block."""
    columns = values.shape[1]
    shape = (max(len(values) - steps + 1, 0), steps * columns)
    stretches = np.lib.stride_tricks.as_strided(values, shape, values.strides, writeable=False)
    return stretches[starts].reshape(len(starts), steps, columns)


def renumbering(labels: list[str], shared: list[str]) -> npt.NDArray[np.int64]:
    """Return the shared number of each code of a part; the last entry is -1 (missing, or not shared)."""
    index_of = {label: index for index, label in enumerate(shared)}
    return np.array([*(index_of.get(label, -1) for label in labels), -1], np.int64)
