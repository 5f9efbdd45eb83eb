"""A batch of encoded samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """A batch of samples, encoded for the model.

    `inputs` (samples, steps, features), zero beyond each sample's `lengths`; `targets` (samples, horizon, targets),
    horizon at least 1, or class numbers (samples,), -1 for a class that is in no train row; `weights` (samples,) in the
    loss, None where all are 1; `known` (samples, horizon, columns) has the known_future columns of the predicted rows.
    """

    inputs: Float32
    lengths: npt.NDArray[np.int64]
    targets: npt.NDArray[np.float32] | npt.NDArray[np.int64]
    weights: Float32 | None = None
    known: Float32 | None = None

    def samples(self, which: slice) -> Batch:
        """Return some of the samples."""
        weights, known = (None if each is None else each[which] for each in (self.weights, self.known))
        return Batch(self.inputs[which], self.lengths[which], self.targets[which], weights, known)
