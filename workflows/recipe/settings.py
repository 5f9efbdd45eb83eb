"""The settings of training: the recipe's [training], [retention] and [guard] sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.retention_methods import RETENTION_METHODS, RetentionMethod
from models.schedules import SCHEDULES
from models.tables import NameIn, described

DecayRate = Annotated[float, Field(gt=0, le=1)]
REPLAY_DECAY_RATE = 1.0  # default of `decay_rate` with replay, which forgets little at the full rate
FEW_SAMPLES = 2000  # samples kept of a dataset that does not fit into memory, or used for the Fisher information


class TrainingSettings(BaseModel):
    """How the model is trained on one dataset after another."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    learning_rate: float = Field(1e-3, gt=0, le=1e30, description="learning rate of Adam in the first dataset")
    decay_rate: DecayRate | list[Annotated[float, Field(gt=0)]] = Field(
        0.8,
        description="factor on the learning rate at each change of dataset; a list is applied by position, and may have "
        "factors above 1. Default 1 with replay, otherwise 0.8",
    )
    min_learning_rate: float = Field(0.0, ge=0, description="lower bound of the decayed learning rate")
    epochs: int = Field(5, ge=1, le=1_000_000, description="epochs on each dataset that does not set its own")
    batch_size: int = Field(64, ge=1, le=10**12, description="samples per step, over all workers together")
    shuffle: bool = Field(True, description="shuffle the samples of each epoch, by the seed")
    shuffle_gb: float = Field(
        4.0,
        gt=0,
        description="GB of train rows that are shuffled at a time; a larger dataset is read in passes and need not fit into "
        "memory",
    )
    schedule: Annotated[str, NameIn(SCHEDULES)] = Field(
        "constant",
        description=f"learning rate schedule within a dataset, relative to the carried rate. {described(SCHEDULES)}",
    )
    plateau_factor: float = Field(0.5, gt=0, lt=1, description='schedule = "plateau": factor of a reduction')
    plateau_patience: int = Field(
        1, ge=0, description='schedule = "plateau": epochs without improvement before the rate is reduced'
    )
    warmup_steps: int = Field(
        0, ge=0, description="steps of linear warm-up at the start of the run; they may go on into the next dataset"
    )
    handover: Literal["last", "best", "average"] | None = Field(
        None,
        description="weights that the next dataset starts from: after the last epoch, after the best epoch by the monitored "
        "figure, or the average over the last third of the dataset's steps. Default average with a constant learning rate, "
        "otherwise last",
    )
    patience: int = Field(
        0, ge=0, description="early-stopping patience in epochs, by the monitored validation figure; 0 disables it"
    )
    monitor: Literal["loss", "error"] | None = Field(
        None,
        description='validation figure that patience, handover = "best", schedule = "plateau" and the guard watch; default '
        "loss for classes (with few positives the error rate stays flat for many epochs), otherwise error",
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay, as in AdamW (Loshchilov and Hutter 2019)")
    gradient_clip: float = Field(0.0, ge=0, description="maximum norm of the gradient; 0 disables clipping")
    carry_optimizer: bool = Field(True, description="keep the optimizer state (Adam's moments) at a change of dataset")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="precision of the forward and backward pass")
    evaluations: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        "all",
        description="number of datasets evaluated after each stage, evenly spaced, beside its own and its neighbours; 'all' "
        "costs O(n^2). At the end all are evaluated",
    )

    @property
    def hands_over(self) -> Literal["last", "best", "average"]:
        """Return which weights a dataset hands over."""
        return self.handover or ("average" if self.schedule == "constant" else "last")


class RetentionSettings(BaseModel):
    """How earlier datasets are retained: the recipe's [retention] section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    method: Annotated[str, NameIn(RETENTION_METHODS)] = Field("none", description=described(RETENTION_METHODS))
    strength: float = Field(
        1.0,
        gt=0,
        le=1e12,
        description="loss weight of each earlier dataset relative to the new one (replay, default 0.4), or coefficient of "
        "the teacher or penalty term (default 1)",
    )
    memory: Annotated[int, Field(ge=1, le=10**15)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="samples kept of each dataset for replay: a number, or a share below 1. They are row numbers into rows "
        "that stay in the store. Default all, or 2000 if the train rows exceed shuffle_gb. ewc: samples for the Fisher "
        "information, default 2000",
    )
    share: float = Field(0.3, gt=0, le=4, description="replayed samples per new sample")
    mix: Literal["added", "replaced"] = Field(
        "added",
        description="added: replayed samples are added to each batch; replaced: they replace that share of it, so an epoch "
        "costs as much as without replay and sees fewer new samples",
    )
    importance_decay: float = Field(
        1.0, gt=0, le=1, description="ewc: factor on the importance of earlier datasets at each change"
    )

    @model_validator(mode="after")
    def _room_for_new_samples(self) -> RetentionSettings:
        if self.mix == "replaced" and self.share >= 1:
            raise ValueError(f'mix = "replaced" with share = {self.share:g} leaves no new samples: write a share below 1')
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_strength(cls, given: Any) -> Any:
        method = RETENTION_METHODS.get(str(given.get("method", "none"))) if isinstance(given, dict) else None
        return given if method is None else {"strength": method.strength, **given}

    @property
    def parts(self) -> RetentionMethod:
        """Return what the method does, from the table of methods."""
        return RETENTION_METHODS[self.method]

    @property
    def replays(self) -> bool:
        """Return whether samples of earlier datasets are mixed in."""
        return self.parts.replays

    def deciding(self) -> dict[str, object]:
        """Return the keys that decide the numbers of this method, and its version marks."""
        weighs = self.parts.importance is not None
        keys = {"method", "strength"}
        keys |= {"memory", "share"} if self.replays else set()
        keys |= {"memory", "importance_decay"} if weighs else set()
        asked = {"teacher": "of what it can know"} if self.replays and self.parts.teaches else {}
        # Until the weights of replayed samples were exact, they were those of a batch whose share is a whole number.
        weighed = {"weights": "exact"} if self.replays else {}
        mixed = {"mix": self.mix} if self.replays and self.mix != "added" else {}
        measured = {"memory": self.memory or FEW_SAMPLES} if weighs else {}
        return self.model_dump(mode="json", include=keys) | asked | weighed | mixed | measured

    def kept_of(self, num_samples: int, is_large: bool) -> int | float:
        """Return how many samples of a dataset are kept, or which share; a large dataset is read in passes."""
        if self.memory is not None:
            return self.memory
        # Samples spread over rows outside of memory are read at the speed of random access.
        return FEW_SAMPLES if is_large or not self.replays else num_samples


class GuardSettings(BaseModel):
    """What happens when a dataset raises the error on an earlier one: the recipe's [guard] section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    tolerance: float = Field(
        0.1,
        ge=0,
        description="largest allowed rise of an earlier dataset's monitored figure, relative to it; for an error rate, "
        "absolute",
    )
    floor: float = Field(
        1e-4,
        ge=0,
        description="scaled error or loss below which values count as equal (an MSE of 1e-4 is 1 % of a standard deviation)",
    )
    action: Literal["warn", "stop", "retry"] = Field(
        "warn",
        description="warn: report it; stop: end the run before that dataset; retry: train the dataset again and keep the "
        "attempt with the lowest mean error",
    )
    retry: Literal["learning_rate", "retention"] = Field(
        "learning_rate", description="change in each attempt: half the learning rate, or twice retention.strength"
    )
    max_attempts: int = Field(3, ge=2, description="attempts for a dataset, including the first")


class LoggingSettings(BaseModel):
    """Where the numbers of a run go: the recipe's [logging] section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    loggers: list[Literal["tensorboard", "mlflow", "wandb"]] = Field(
        ["tensorboard"],
        description="tensorboard: event files in the run's folder; mlflow, wandb: one run for each training, configured by "
        "MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, WANDB_PROJECT, WANDB_MODE and so on; each is an extra to install",
    )
