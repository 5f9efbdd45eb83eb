"""The settings of the network: the recipe's [model] section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.loss_table import LOSSES, Loss
from models.tables import NameIn, described

WindowNormalization = Literal["none", "last", "instance"]


@dataclass(frozen=True)
class Channels:
    """The inputs at each step: numeric features, others (one-hot, calendar), then a missing flag for each feature.

    `targets` has the index of each target among the numeric features.
    """

    num_numbers: int
    targets: tuple[int, ...]
    flags: bool = False


class ModelSettings(BaseModel):
    """The LSTM and its loss."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    hidden_size: int = Field(64, ge=1, le=65536, description="units of each layer")
    num_layers: int = Field(1, ge=1, le=100, description="stacked layers")
    bidirectional: bool = Field(False, description="read each window in both directions")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of each layer's outputs that is dropped, one mask per sequence"
    )
    loss: Annotated[str, NameIn(LOSSES)] = Field("mse", description=f"loss function. {described(LOSSES)}")
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.1, 0.5, 0.9],
        min_length=1,
        description='levels that loss = "quantile" predicts; the one nearest to 0.5 is the forecast',
    )

    window_normalization: WindowNormalization = Field(
        "none",
        description="per-window normalization, inverted at the output (RevIN, NLinear): last subtracts the last values; "
        "instance subtracts the mean and divides by the standard deviation. For series with a drifting level (half the "
        "error on ETT). Requires the targets among the features",
    )
    channel_independent: bool = Field(
        False,
        description="run each feature as its own series through the same LSTM: less error if the features behave alike, at "
        "num_features times the cost; requires features = targets",
    )

    head: Literal["dataset", "shared"] | None = Field(
        None,
        description="dataset: a correction of the output layer for each dataset, so prediction needs the dataset's name; "
        "shared: one output layer. Default dataset for numbers, shared for classes",
    )

    classes: Literal["seen", "all"] = Field(
        "seen",
        description="outputs for classes. seen: of the datasets trained so far; a dataset with new classes adds theirs, and "
        "nothing before it is retrained. all: of all datasets from the start; a new class then retrains everything",
    )

    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        None,
        description='weights of the classes in the loss: "balanced" (each class of a dataset the same in total), or a '
        "weight for each label, default 1; divided by their mean over a dataset's train samples. Default all 1",
    )

    @model_validator(mode="after")
    def _sorted_quantiles(self) -> ModelSettings:
        if sorted(set(self.quantiles)) != self.quantiles:
            raise ValueError(f"quantiles = {self.quantiles} must increase: write {sorted(set(self.quantiles))}")
        return self

    @property
    def loss_function(self) -> Loss:
        """Return the loss's entry in the table of losses."""
        return LOSSES[self.loss]

    @property
    def classifies(self) -> bool:
        """Return whether the model predicts a class instead of numbers."""
        return self.loss_function.for_classes

    @property
    def predicts_quantiles(self) -> bool:
        """Return whether the model predicts several quantiles of each number."""
        return self.loss_function.for_quantiles

    @property
    def error_name(self) -> str:
        """Return the name of the error that the model is judged by."""
        return self.loss_function.error.name

    @property
    def dataset_heads(self) -> bool:
        """Return whether each dataset has a head correction."""
        return (self.head or ("shared" if self.classifies else "dataset")) == "dataset"

    @property
    def needs_channels(self) -> bool:
        """Return whether the model needs the indices of the targets among its inputs."""
        return self.window_normalization != "none" or self.channel_independent

    @property
    def num_levels(self) -> int:
        """Return how many numbers are predicted for each target at each step."""
        return len(self.quantiles) if self.predicts_quantiles else 1

    def num_outputs(self, num_targets: int, horizon: int, num_classes: int) -> int:
        """Return the number of the model's outputs for each sample."""
        if self.classifies:
            return num_classes
        return max(horizon, 1) * num_targets * self.num_levels
