"""The spec: what a run asks for, as TOML. Checked whole before anything starts; every error is one line.

A spec without any `[[step]]` trains (or loads) and profiles the base network and stops there; the page uses this to
show the APoZ before a plan exists, and then branches from it.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from trimcore.errors import SpecError
from trimcore.zeros import DEFAULT_TOLERANCE

Count = Annotated[int, Field(ge=0, le=10_000_000)]
Positive = Annotated[int, Field(ge=1, le=10_000_000)]
RuleName = Literal["mean+std", "absolute", "fraction", "count", "keep"]
CriterionName = Literal["apoz", "l1", "l2", "mean-activation", "taylor", "random"]
Neurons = dict[str, list[Annotated[int, Field(ge=0)]]]


class Section(BaseModel):
    """Unknown keys are refused, numbers must be finite, nothing is changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Training(Section):
    """One training phase: SGD with Nesterov momentum, one warm-up and a cosine to zero."""

    epochs: Count = 4
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 128
    lr: Annotated[float, Field(gt=0, le=10)] = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    augment: Literal["none", "shift", "shift+flip"] = "none"


class Base(Training):
    """How iteration 0 comes about. `weights`: empty, new weights are trained for `epochs`; a checkpoint file, taken as
    it is; "pretrained", ImageNet weights, then trained for `epochs` on the data (0 leaves them as they are)."""

    epochs: Count = 12
    lr: Annotated[float, Field(gt=0, le=10)] = 0.05
    weights: str = ""


class Retrain(Training):
    """After each cut. `keep_momentum` carries the optimizer's momentum over to the smaller weights; without it the
    optimizer begins anew."""

    keep_momentum: bool = False


class Convert(Training):
    """Between the base and its first profile: `to` "relu" trains on while GELU, SiLU and Hardswish modules turn into
    ReLUs (see `smooth`); empty, or 0 epochs, leaves the activations as they are."""

    lr: Annotated[float, Field(gt=0, le=10)] = 0.01
    to: Literal["", "relu"] = ""


class ProfileSettings(Section):
    """`examples` of the validation split are profiled; 0 means all. `tolerance`: activations without true zeros count
    as zero up to this share of their root mean square (see `apoz.profile`)."""

    examples: Count = 0
    tolerance: Annotated[float, Field(ge=0, le=1)] = DEFAULT_TOLERANCE


class LayerRule(Section):
    rule: RuleName = "mean+std"
    value: float = 1.0

    @model_validator(mode="after")
    def _in_range(self):
        from trimcore.planning import make_rule

        make_rule(self.rule, self.value)
        return self


class Step(LayerRule):
    """Some iterations on some layers with one rule. `layer` gives single layers a rule of their own.

    `also_cut` and `never_cut` name neurons by their index in the base model.
    """

    layers: Annotated[list[str], Field(min_length=1)]
    iterations: Annotated[int, Field(ge=1, le=1000)] = 1
    criterion: CriterionName = "apoz"
    layer: dict[str, LayerRule] = {}
    also_cut: Neurons = {}
    never_cut: Neurons = {}

    @model_validator(mode="after")
    def _consistent(self):
        rules = [(name, own.rule) for name, own in self.layer.items()] + [("the step", self.rule)]
        absolute = next((name for name, rule in rules if rule == "absolute"), None)
        if self.criterion != "apoz" and absolute:
            raise SpecError(
                f"rule 'absolute' ({absolute}) is for APoZ; criterion {self.criterion!r} needs another rule"
            )
        for key, names in (("layer", self.layer), ("also_cut", self.also_cut), ("never_cut", self.never_cut)):
            if self.layers != ["all"] and (extra := [n for n in names if n not in self.layers]):
                raise SpecError(f"step.{key} names layer {extra[0]!r}, which the step does not have")
        return self

    def rule_for(self, layer: str) -> LayerRule:
        return self.layer.get(layer, self)


class Stop(Section):
    """The run ends when the validation accuracy after retraining falls below `min_accuracy`; the iteration before is
    then the result. Validation, not test: a limit on the test split would be tuning on it."""

    min_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.0


class Control(Section):
    """`scratch`: also train the final widths from new weights, with all the epochs that the trimmed network had."""

    scratch: bool = False


class Parent(Section):
    """Where a branch begins: an iteration of another run."""

    run: str
    iteration: Count = 0


def _known_model(name: str) -> str:
    """The form only of `package.module:function`: a spec that is read for showing it must not import anything."""
    from trimcore.models import check_name

    check_name(name)
    return name


def _known_data(name: str) -> str:
    from trimcore.data import check_name

    check_name(name)
    return name


def _device_name(name: str) -> str:
    kind, _, index = name.partition(":")
    if kind in ("auto", "cpu", "cuda", "mps") and (not index or (kind == "cuda" and index.isdigit())):
        return name
    raise SpecError(f"unknown device {name!r}; there are auto, cpu, cuda, cuda:N, mps")


class Spec(Section):
    model: Annotated[str, AfterValidator(_known_model)] = "lenet5"
    data: Annotated[str, AfterValidator(_known_data)] = "mnist-5k"
    name: Annotated[str, Field(max_length=80)] = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: Annotated[str, AfterValidator(_device_name)] = "auto"
    image_size: Annotated[int, Field(ge=0, le=4096)] = 0  # 0: what the model or the data has
    channels: Literal[0, 1, 3] = 0  # 0: what the model or the data has
    parent: Parent | None = None
    base: Base = Base()
    convert: Convert = Convert()
    profile: ProfileSettings = ProfileSettings()
    retrain: Retrain = Retrain()
    step: list[Step] = []
    stop: Stop = Stop()
    control: Control = Control()

    @property
    def base_epochs(self) -> int:
        """Epochs before iteration 0: none for a branch or given weights; pretrained ones are fitted to the data."""
        return 0 if self.parent or self.base.weights not in ("", "pretrained") else self.base.epochs

    @property
    def convert_epochs(self) -> int:
        """Epochs in which the activations are converted; a branch from a converted network needs none of them."""
        return self.convert.epochs if self.convert.to else 0

    @property
    def iterations(self) -> int:
        """How many iterations the steps ask for; a step ends early when its rule finds nothing more to cut."""
        return sum(step.iterations for step in self.step)


def parse(values: dict) -> Spec:
    """A checked spec. Raises SpecError with the first problem: the key, the value, and what would be right."""
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise SpecError(_one_line(error)) from None


def loads(text: str) -> Spec:
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and arrays as deep
        raise SpecError(f"the spec is not valid TOML: {error}") from None
    return parse(values)


def load(path: str | Path) -> Spec:
    """Read a spec file. Raises SpecError when it cannot be read or does not pass."""
    try:
        return loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read the spec {str(path)!r}: {_reason(error)}") from None


def dumps(spec: Spec) -> str:
    """The spec as TOML, every setting spelled out."""
    return tomli_w.dumps(spec.model_dump(exclude_none=True))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not UTF-8 text"


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "spec"
    if first["type"] == "extra_forbidden":
        section = Spec
        for part in first["loc"][:-1]:
            section = _section(section, part) or section
        return f"unknown key {key!r}; known are {', '.join(section.model_fields)}"
    key = repr(key)[1:-1]  # a layer's name may hold a line break
    if cause := first.get("ctx", {}).get("error"):
        return f"{key}: {cause}"
    value = repr(first["input"])
    return f"{key} = {value if len(value) <= 60 else value[:57] + '...'}: {first['msg'].lower()}"


def _section(section, part) -> type[Section] | None:
    """The section class below `section` under a key (list positions and layer names lead to what they hold)."""
    known = {"base": Base, "convert": Convert, "profile": ProfileSettings, "retrain": Retrain, "step": Step,
             "stop": Stop, "control": Control, "parent": Parent, "layer": LayerRule}  # fmt: skip
    return known.get(part)
