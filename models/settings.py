"""The settings of the network: the recipe's [model] section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Loss = Literal["mse", "mae", "huber", "quantile", "cross_entropy"]


class ModelSettings(BaseModel):
    """The LSTM and what it is fitted to."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    hidden_size: int = Field(64, ge=1, le=65536, description="units of each layer")
    num_layers: int = Field(1, ge=1, le=100, description="layers on top of each other")
    bidirectional: bool = Field(False, description="read each window in both directions")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of each layer's outputs dropped, one mask a sequence")
    loss: Loss = Field("mse", description="what is minimised")
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        [0.1, 0.5, 0.9],
        min_length=1,
        description='levels that loss = "quantile" predicts; the one nearest to 0.5 is the forecast',
    )

    @model_validator(mode="after")
    def _sorted_quantiles(self) -> ModelSettings:
        if sorted(set(self.quantiles)) != self.quantiles:
            raise ValueError(f"quantiles = {self.quantiles} must rise: write {sorted(set(self.quantiles))}")
        return self

    def num_outputs(self, num_targets: int, horizon: int, num_classes: int) -> int:
        """Numbers that the head gives for each sequence."""
        if self.loss == "cross_entropy":
            return num_classes
        levels = len(self.quantiles) if self.loss == "quantile" else 1
        return max(horizon, 1) * num_targets * levels
