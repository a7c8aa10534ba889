"""The spec sections on training: [base], [convert], [retrain], [distill], and a step's overrides."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trimcore.errors import SpecError
from trimcore.spec.section import Natural, Section

Augmentation = Literal["none", "nudge", "shift", "shift+flip", "affine"]


class Training(Section):
    """One training phase: SGD with Nesterov momentum, warm-up, and cosine decay to zero."""

    epochs: Natural = 4
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    lr: Annotated[float, Field(gt=0, le=10)] = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    augment: Augmentation = "none"


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
    Otherwise the optimizer starts from scratch."""

    keep_momentum: bool = False


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


class StepRetrain(Section):
    """One step's overrides of `[retrain]`; unset keys keep its values. `distill` overrides `[distill]`'s weight."""

    epochs: Natural | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    lr: Annotated[float, Field(gt=0, le=10)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    augment: Augmentation | None = None
    distill: Annotated[float, Field(ge=0, le=1)] | None = None
