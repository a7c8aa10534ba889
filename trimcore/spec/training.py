"""The sections on training: [base], [convert], [retrain], [distill], and what a step changes of them."""

from typing import Annotated, Literal

from pydantic import Field

from trimcore.spec.section import Natural, Section

Augmentation = Literal["none", "nudge", "shift", "shift+flip", "affine"]


class Training(Section):
    """One training phase: SGD with Nesterov momentum, a warm-up, and a cosine to zero."""

    epochs: Natural = 4
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    lr: Annotated[float, Field(gt=0, le=10)] = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    augment: Augmentation = "none"


class Base(Training):
    """Where iteration 0 comes from. `weights`: empty, new weights are trained for `epochs`; a checkpoint file, used as
    it is; "pretrained", ImageNet weights, then trained on the data for `epochs` (0 leaves them as they are)."""

    epochs: Natural = 12
    lr: Annotated[float, Field(gt=0, le=10)] = 0.05
    weights: str = ""


class Retrain(Training):
    """After each cut. `keep_momentum` carries the optimizer's momentum over to the smaller weights; without it the
    optimizer starts afresh."""

    keep_momentum: bool = False


class Distill(Section):
    """While retraining, `weight` is the share of the loss that is the distance to the scores of the network at
    iteration 0, both softened by `temperature` (Hinton et al. 2015, arXiv 1503.02531, see `training.distillation`). 0
    uses the labels alone."""

    weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0


class Convert(Training):
    """Between the base and its first profile. `to` "relu" continues training while GELU, SiLU and Hardswish modules
    turn into ReLU (see `layers.sharpened`); "maxout" groups the neurons of hidden linear layers into units of `k` (see
    `surgery.grouping`) and continues training; empty, or 0 epochs, keeps the activations. `layers` are the linear
    layers that become maxout layers; empty: all that can."""

    lr: Annotated[float, Field(gt=0, le=10)] = 0.01
    to: Literal["", "relu", "maxout"] = ""
    k: Annotated[int, Field(ge=2, le=16)] = 4
    layers: list[str] = []


class StepRetrain(Section):
    """What one step changes of `[retrain]`; the rest stays as there. `distill` is the teacher's weight, otherwise that
    of `[distill]`."""

    epochs: Natural | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    lr: Annotated[float, Field(gt=0, le=10)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    augment: Augmentation | None = None
    distill: Annotated[float, Field(ge=0, le=1)] | None = None
