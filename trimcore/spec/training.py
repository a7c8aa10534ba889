"""The spec sections on training: [base], [convert], [retrain], [distill], and a step's overrides."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trimcore.errors import SpecError
from trimcore.spec.section import Natural, Section

Augmentation = Literal["none", "nudge", "shift", "shift+flip", "affine", "crop+flip", "trivial", "rand"]
ADAMW_LR = 0.001  # the default with AdamW, whose steps do not shrink with the gradients

Share = Annotated[float, Field(ge=0, lt=1)]


class Training(Section):
    """One training phase. The defaults are SGD with Nesterov momentum, warm-up, and cosine decay to zero.

    `optimizer` is made by `training.optimizer`, with `momentum` as AdamW's first decay. `warmup` is a share of all
    steps. `label_smoothing` and `class_weights` change the loss (`training.losses`), `mixup` and `cutmix` are alphas
    (`training.mixing`). `clip` is the largest norm of the gradients, 0 for none; gradients of `accumulate` batches are
    averaged for a step. `ema` is the decay of an average of the weights that is used in their place
    (`training.averaging`), 0 for none. `keep` says which epoch's weights the phase ends with, and `patience` after how
    many epochs without a better validation accuracy it ends early, 0 for never (`training.best`)."""

    epochs: Natural = 4
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0, le=10)] = 0.02
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    augment: Augmentation = "none"
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0
    label_smoothing: Share = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    clip: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    accumulate: Annotated[int, Field(ge=1, le=10_000)] = 1
    ema: Share = 0.0
    keep: Literal["last", "best"] = "last"
    patience: Natural = 0

    @model_validator(mode="before")
    @classmethod
    def _rate_of_the_optimizer(cls, values: Any) -> Any:
        return with_own_rate(values)


def with_own_rate(values: Any) -> Any:
    """The values of a section with AdamW's own default rate, if it names AdamW and no rate."""
    if isinstance(values, dict) and values.get("optimizer") == "adamw":
        return {"lr": ADAMW_LR, **values}
    return values


class Base(Training):
    """The network of iteration 0. `weights`: empty to train new weights for `epochs`; a checkpoint file, used as it is;
    or "pretrained" for ImageNet weights, trained on the data for `epochs` (0 keeps them unchanged). `head` "new" takes
    all weights of the file but those of the head, which is made for the data's classes, and trains for `epochs`."""

    epochs: Natural = 12
    lr: Annotated[float, Field(gt=0, le=10)] = 0.05
    weights: str = ""
    head: Literal["", "new"] = ""

    @model_validator(mode="after")
    def _head_of_a_file(self) -> Self:
        if self.head and self.weights in ("", "pretrained"):
            raise SpecError('head = "new" needs a checkpoint file as weights')
        return self

    @property
    def is_trained(self) -> bool:
        """Whether the base network is trained before iteration 0, unless the run is a branch."""
        return self.weights in ("", "pretrained") or bool(self.head)


class Retrain(Training):
    """Retraining after each cut. `keep_momentum` carries the optimizer's momentum over to the smaller weights.
    Otherwise the optimizer starts from scratch. `batchnorm_examples` is the number of training images from which the
    statistics of BatchNorm are estimated again after a cut, before retraining; 0 keeps them."""

    keep_momentum: bool = False
    batchnorm_examples: Annotated[int, Field(ge=0)] = 0


class Distill(Section):
    """Distillation during retraining (Hinton et al. 2015, arXiv 1503.02531, see `training.distillation`). `weight` is
    the share of the loss given to the distance from the scores of the network at iteration 0, both softened by
    `temperature`. 0 uses only the labels."""

    weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0


class Convert(Training):
    """Conversion between base training and the first profile. `to` "relu" continues training while GELU, SiLU and
    Hardswish modules turn into ReLU (see `layers.sharpened`). "maxout" groups the neurons of hidden linear layers into
    units of `k` (see `surgery.grouping`) and continues training. Empty, or 0 epochs, keeps the activations. `layers`
    are the linear layers to convert to maxout; empty means all eligible ones."""

    lr: Annotated[float, Field(gt=0, le=10)] = 0.01
    to: Literal["", "relu", "maxout"] = ""
    k: Annotated[int, Field(ge=2, le=16)] = 4
    layers: list[str] = []

    @model_validator(mode="after")
    def _epochs_are_comparable(self) -> Self:
        if self.to == "relu" and (self.ema or self.keep == "best" or self.patience):
            raise SpecError("ema, keep and patience do not apply while activations turn into ReLU: each epoch trains "
                            "another network")  # fmt: skip
        return self


class StepRetrain(Section):
    """One step's overrides of `[retrain]`; unset keys keep its values. `distill` overrides `[distill]`'s weight."""

    epochs: Natural | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    optimizer: Literal["sgd", "adamw"] | None = None
    lr: Annotated[float, Field(gt=0, le=10)] | None = None
    schedule: Literal["cosine", "constant"] | None = None
    warmup: Annotated[float, Field(ge=0, le=1)] | None = None
    momentum: Share | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    augment: Augmentation | None = None
    mixup: Annotated[float, Field(ge=0, le=10)] | None = None
    cutmix: Annotated[float, Field(ge=0, le=10)] | None = None
    label_smoothing: Share | None = None
    class_weights: Literal["none", "balanced"] | None = None
    clip: Annotated[float, Field(ge=0, le=1e6)] | None = None
    accumulate: Annotated[int, Field(ge=1, le=10_000)] | None = None
    ema: Share | None = None
    keep: Literal["last", "best"] | None = None
    patience: Natural | None = None
    batchnorm_examples: Annotated[int, Field(ge=0)] | None = None
    distill: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _rate_of_the_optimizer(cls, values: Any) -> Any:
        return with_own_rate(values)
