"""The settings of the fit: the recipe's [training], [retention] and [guard] sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DecayRate = Annotated[float, Field(gt=0, le=1)]
REPLAY_STRENGTH = 0.4  # unless the recipe gives another
FEW_SAMPLES = 2000  # kept of a dataset that does not fit into memory, or measured on by EWC


class TrainingSettings(BaseModel):
    """How the datasets are fitted, one after the other."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    learning_rate: float = Field(1e-3, gt=0, description="Adam's rate at the first dataset")
    decay_rate: DecayRate | list[DecayRate] = Field(
        0.8, description="the rate is multiplied by it at each change of dataset; a list: one for each change"
    )
    min_learning_rate: float = Field(0.0, ge=0, description="the carried rate does not fall below it")
    epochs: int = Field(5, ge=1, description="of each dataset that gives none of its own")
    batch_size: int = Field(64, ge=1, description="samples a step, over all workers together")
    shuffle: bool = Field(True, description="a new order of the samples each epoch, from the seed")
    shuffle_gb: float = Field(
        4.0,
        gt=0,
        description="GB of train rows that are mixed at a time; a dataset that has more is read in passes, so that it need "
        "not fit into memory",
    )
    schedule: Literal["constant", "cosine", "cyclical", "one_cycle", "plateau"] = Field(
        "constant", description="the rate inside a dataset, around the carried one"
    )
    plateau_factor: float = Field(0.5, gt=0, lt=1, description='schedule = "plateau": what the rate is multiplied by')
    plateau_patience: int = Field(
        1, ge=0, description='schedule = "plateau": epochs without improvement before the rate is reduced'
    )
    warmup_steps: int = Field(0, ge=0, description="steps over which the first dataset's rate rises from zero")
    handover: Literal["last", "best", "average"] | None = Field(
        None,
        description="what the next dataset starts from: the weights after the last epoch, after the best one by the "
        "monitored figure, or their average over the last third of the dataset's steps. Default average with a constant "
        "rate, else last",
    )
    patience: int = Field(
        0, ge=0, description="early-stopping patience in epochs, by the monitored validation figure; 0 disables it"
    )
    monitor: Literal["loss", "error"] | None = Field(
        None,
        description='validation figure that patience, handover = "best", schedule = "plateau" and the guard watch; default '
        "loss for classes (where few are positive, the share of wrong classes stays flat for many epochs), else error",
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled, as in AdamW (Loshchilov and Hutter 2019)")
    gradient_clip: float = Field(0.0, ge=0, description="largest norm of the gradient; 0: any")
    carry_optimizer: bool = Field(True, description="keep Adam's moments at a change of dataset")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the forward and backward pass")
    evaluations: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        "all",
        description="datasets, spread evenly, that are measured after each dataset beside it and its neighbours; at the end "
        "all are. All of them each time cost the square of their number",
    )

    @property
    def hands_over(self) -> Literal["last", "best", "average"]:
        """What a dataset hands over."""
        return self.handover or ("average" if self.schedule == "constant" else "last")


class RetentionSettings(BaseModel):
    """What is done against forgetting: the recipe's [retention] section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    method: Literal["none", "replay", "ewc", "distill", "l2", "replay+distill"] = Field(
        "none",
        description="replay: samples of earlier datasets are mixed into each batch; ewc: weights that they need are held; "
        "distill: the model before the dataset is the teacher, beside replay of old samples; l2: all weights are held",
    )
    strength: float = Field(
        1.0,
        gt=0,
        description="replay: weight of each earlier dataset, the new one having 1 (0.4 unless given); else of the teacher "
        "or the penalty",
    )
    memory: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="samples kept of each dataset for replay: a number, or a share below 1. They are row numbers into rows "
        "that stay in the store. Default all; 2000 where train rows exceed shuffle_gb. ewc: samples measured on, default "
        "2000",
    )
    share: float = Field(0.3, gt=0, le=4, description="replayed samples for each new one")
    mix: Literal["added", "replaced"] = Field(
        "added",
        description="added: replayed samples are added to each batch; replaced: they take the place of that share of it, so "
        "that an epoch costs no more than without replay, and sees fewer new samples",
    )
    importance_decay: float = Field(1.0, gt=0, le=1, description="ewc: what is left of the importance at each dataset")

    @model_validator(mode="after")
    def _room_for_new_samples(self) -> RetentionSettings:
        if self.mix == "replaced" and self.share >= 1:
            raise ValueError(f'mix = "replaced" with share = {self.share:g} leaves no new samples: write a share below 1')
        return self

    @model_validator(mode="before")
    @classmethod
    def _strength_of_replay(cls, given: Any) -> Any:
        # With 1 and a small share, the step at a fourth dataset is mostly noise. On validation splits (plants, ETT; share
        # 0.3) the error at the end was 1.06 of joint training's with 0.4, 1.13 with 1.
        if isinstance(given, dict) and "replay" in str(given.get("method")):
            return {"strength": REPLAY_STRENGTH, **given}
        return given

    @property
    def replays(self) -> bool:
        """Whether samples of earlier datasets are mixed in."""
        return "replay" in self.method

    @property
    def distills(self) -> bool:
        """Whether the model before the dataset is the teacher."""
        return "distill" in self.method

    def deciding(self) -> dict[str, object]:
        """The keys that decide numbers with this method, and how it does it where that has changed."""
        keys = {"method", "strength"}
        keys |= {"memory", "share"} if self.replays else set()
        keys |= {"memory", "importance_decay"} if self.method == "ewc" else set()
        asked = {"teacher": "of what it can know"} if self.replays and self.distills else {}
        # Until the weights of replayed samples were exact, they were those of a batch whose share is a whole number.
        weighed = {"weights": "exact"} if self.replays else {}
        mixed = {"mix": self.mix} if self.replays and self.mix != "added" else {}
        measured = {"memory": self.memory or FEW_SAMPLES} if self.method == "ewc" else {}
        return self.model_dump(mode="json", include=keys) | asked | weighed | mixed | measured

    def kept_of(self, num_samples: int, is_large: bool) -> int | float:
        """How many of a dataset's samples are kept, or which share; a dataset is large that is read in passes."""
        if self.memory is not None:
            return self.memory
        # Single samples from all over rows that do not stay in memory are read at the speed of random access.
        return FEW_SAMPLES if is_large or not self.replays else num_samples


class GuardSettings(BaseModel):
    """What is done where a dataset spoils an earlier one: the recipe's [guard] section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    tolerance: float = Field(
        0.1,
        ge=0,
        description="how far a dataset may raise an earlier one's monitored figure, relative to it; a share of wrong "
        "classes: in points",
    )
    floor: float = Field(
        1e-4,
        ge=0,
        description="scaled error or loss below which the guard sees no difference (an MSE of 1e-4 is 1 % of a standard "
        "deviation)",
    )
    action: Literal["warn", "stop", "retry"] = Field(
        "warn",
        description="warn: say so; stop: end the run before that dataset; retry: try again and keep the attempt with the "
        "lowest mean error",
    )
    retry: Literal["learning_rate", "retention"] = Field(
        "learning_rate", description="what an attempt changes: the rate is halved, or retention.strength doubled"
    )
    max_attempts: int = Field(3, ge=2, description="of a dataset, the first one counted")
