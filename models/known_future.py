"""What the head sees of the rows that are predicted: columns whose values are known when forecasting.

A known column (`data.known_future`: a price, a planned load, a holiday as 0 or 1) is a feature like others in the window
that goes in. Of the rows that are predicted, the head also gets the known columns, and nothing else: beside the LSTM's
summary h of the window stand the values x_1 .. x_H of the horizon's rows, scaled as features are, and the outputs are
W [h, x_1, .. x_H] + b. The head is wider, that is all: the correction of each dataset (models.head), retention, averaging
and the optimizer treat it as any head. No window normalization changes known columns, as the effect of a price does not
depend on how it moved in the window.

- Preparation writes them as features; the rows of a horizon follow the window in the same part, so that nothing more is
  stored. Their gaps are filled as those of other features are, within a split; with missing = "drop" a sample whose horizon
  lacks one is left out (data.samples.windows).
- `EncodedDataset` gathers (samples, horizon, known columns) beside the inputs; both lanes of the fit carry them.
- `predict` reads them from rows behind the last observed one, whose targets are empty, and refuses a series that lacks some
  (data.samples.future).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFuture:
    """The places of the known columns among the features of a step, and the steps of the horizon."""

    features: tuple[int, ...]
    steps: int

    @property
    def numbers(self) -> int:
        """Return how many numbers of a sample the head gets."""
        return len(self.features) * self.steps
