"""The errors of a split, from the sums that the workers make of its samples."""

from __future__ import annotations

import math

from data.prepared.encoding import EncodedDataset
from models.losses import ErrorSums
from workflows.store.kept import Errors


def errors_of(sums: ErrorSums, dataset: EncodedDataset, loss: str) -> Errors:
    """The errors of a split from the sums over its samples (see Errors)."""
    count = sums.samples
    mean_loss = sums.loss / sums.known if sums.known else None
    mean_loss = mean_loss if mean_loss is not None and math.isfinite(mean_loss) else None
    if loss == "cross_entropy":
        return Errors(float(sums.wrong / count), int(count), mean_loss)
    mse, mae = float(sums.squared.mean()) / count, float(sums.absolute.mean()) / count
    scale = dataset.target_scale
    return Errors(
        error={"mae": mae, "quantile": sums.loss / count}.get(loss, mse),
        samples=int(count),
        loss=mean_loss,
        mse=mse,
        mae=mae,
        mae_units=tuple((sums.absolute.numpy() / count * scale).tolist()),
        rmse_units=tuple(((sums.squared.numpy() / count) ** 0.5 * scale).tolist()),
    )
