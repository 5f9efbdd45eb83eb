"""Describe the columns that are known when forecasting and that the head sees at the predicted rows.

A known column (`data.known_future`: a price, a planned load, a holiday as 0 or 1) is a normal feature in the input window.
At the predicted rows the head also gets the known columns, and only these: with the LSTM's summary h of the window and the
values x_1 .. x_H of the horizon's rows, scaled like features, the outputs are W [h, x_1, .. x_H] + b. Only the width of the
head changes: the correction of each dataset (models.head), retention, averaging and the optimizer treat it like any head.
Window normalization does not change known columns, because the effect of a price does not depend on its course in the
window.

- Preparation writes them as features; the rows of a horizon follow the window in the same part, so that nothing more is
  stored. Their gaps are filled like those of other features, within a split; with missing = "drop" a sample with a gap in
  its horizon is left out (data.samples.windows).
- `EncodedDataset` gathers (samples, horizon, known columns) beside the inputs; both lanes of the fit carry them.
- `predict` reads them from rows after the last observed one, with empty targets, and rejects a series without them
  (data.samples.future).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFuture:
    """The indices of the known columns among the features of a step, and the steps of the horizon."""

    features: tuple[int, ...]
    steps: int

    @property
    def numbers(self) -> int:
        """Return how many numbers of a sample the head gets."""
        return len(self.features) * self.steps
