"""The spec: what a run asks for, as TOML. Checked whole before anything starts; every error is one line.

A spec without any `[[step]]` trains (or loads) and profiles the base network and stops there; the page uses this to
show the APoZ before a plan exists, and then branches from it.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from trimcore.errors import SpecError, shortened
from trimcore.ordinary import open_ordinary
from trimcore.zeros import DEFAULT_TOLERANCE

Count = Annotated[int, Field(ge=0, le=10_000_000)]
Positive = Annotated[int, Field(ge=1, le=10_000_000)]
LARGEST = 1_000_000  # characters of a spec file
NEURON_RULES = ("mean+std", "absolute", "fraction", "count", "keep", "maxout", "smaller")
WEIGHT_RULES = ("quality", "sparsity", "sparsity-overall")
RuleName = Literal[
    "mean+std", "absolute", "fraction", "count", "keep", "maxout", "smaller", "quality", "sparsity", "sparsity-overall"
]
CriterionName = Literal["apoz", "l1", "l2", "mean-activation", "taylor", "random", "relevance", "magnitude"]
IN_UNITS = ("relevance", "l1", "l2", "random")  # criteria that rank the neurons of a maxout unit
Augmentation = Literal["none", "nudge", "shift", "shift+flip", "affine"]
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
    augment: Augmentation = "none"


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


class Distill(Section):
    """While retraining, share `weight` of the loss is the distance to the scores of the network at iteration 0, both
    softened by `temperature` (Hinton et al. 2015, arXiv 1503.02531; see `distill`); 0 leaves the labels alone."""

    weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0


class Convert(Training):
    """Between the base and its first profile: `to` "relu" trains on while GELU, SiLU and Hardswish modules turn into
    ReLUs (see `smooth`); "maxout" groups the neurons of hidden linear layers into units of `k` (see `grouping`) and
    trains on; empty, or 0 epochs, leaves the activations as they are. `layers` are the linear layers that become maxout
    layers; empty: all that can."""

    lr: Annotated[float, Field(gt=0, le=10)] = 0.01
    to: Literal["", "relu", "maxout"] = ""
    k: Annotated[int, Field(ge=2, le=16)] = 4
    layers: list[str] = []


class ProfileSettings(Section):
    """`examples` of the validation split are profiled; 0 means all. `tolerance`: activations without true zeros count
    as zero up to this share of their root mean square (see `apoz.profile`). `relevance_examples` of the training split
    show how often each neuron of a maxout unit is its maximum; 0 means all."""

    examples: Count = 0
    relevance_examples: Count = 0
    tolerance: Annotated[float, Field(ge=0, le=1)] = DEFAULT_TOLERANCE


class StepRetrain(Section):
    """What the retraining of one step has of its own; the rest is as in `[retrain]`. `distill` is the weight of the
    teacher, else that of `[distill]`."""

    epochs: Count | None = None
    batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    lr: Annotated[float, Field(gt=0, le=10)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    augment: Augmentation | None = None
    distill: Annotated[float, Field(ge=0, le=1)] | None = None


class LayerRule(Section):
    rule: RuleName = "mean+std"
    value: float = 1.0
    criterion: CriterionName | None = None  # that of the step, or what the rule goes by

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        from trimcore.magnitude import check_value
        from trimcore.planning import make_rule

        (check_value if self.rule in WEIGHT_RULES else make_rule)(self.rule, self.value)
        return self


class Step(LayerRule):
    """Some iterations on some layers with one rule. `layer` gives single layers a rule of their own.

    `also_cut` and `never_cut` name neurons by their index in the base model. Without a criterion the rule `maxout` goes
    by relevance, the rules of WEIGHT_RULES, which hold weights at zero instead of cutting neurons, by magnitude, all
    others by APoZ. Widths that stay are rounded up to a `multiple` (see `rounding`). `retrain` is how the network is
    retrained after these cuts, where that differs from `[retrain]`: the last one may last longer.
    """

    layers: Annotated[list[str], Field(min_length=1)]
    iterations: Annotated[int, Field(ge=1, le=1000)] = 1
    criterion: CriterionName = "apoz"
    multiple: Annotated[int, Field(ge=1, le=1024)] = 1
    layer: dict[str, LayerRule] = {}
    also_cut: Neurons = {}
    never_cut: Neurons = {}
    retrain: StepRetrain | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_criterion(cls, values: Any) -> Any:
        if isinstance(values, dict) and "criterion" not in values:
            return {**values, "criterion": own_criterion(values.get("rule"))}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        rules: list[tuple[str, LayerRule]] = [*self.layer.items(), ("the step", self)]
        for name, own in rules:
            if (own.rule in WEIGHT_RULES) != self.weights:
                raise SpecError(f"a step cuts neurons or prunes weights: rule {own.rule!r} ({name}) needs another step")
            self._check_criterion(name, own)
            for rule in ("sparsity-overall", "smaller"):
                if rule in (own.rule, self.rule) and own.rule != self.rule:
                    raise SpecError(f"rule {rule!r} is for all layers of a step: {name} has rule {own.rule!r}")
            if own.rule == "smaller" and own.value != self.value:
                raise SpecError(f"rule 'smaller' has one value for all layers: {name} has {own.value:g}")
        if self.multiple > 1 and self.rule in ("maxout", *WEIGHT_RULES):
            raise SpecError(f"multiple = {self.multiple}: rule {self.rule!r} has no widths to round")
        for key, neurons in (("also_cut", self.also_cut), ("never_cut", self.never_cut)):
            if other := [name for name in neurons if self.rule_for(name).rule in ("maxout", *WEIGHT_RULES)]:
                rule = self.rule_for(other[0]).rule
                raise SpecError(f"{key} names neurons of {other[0]!r}; rule {rule!r} leaves no such choice")
        for key, names in (("layer", self.layer), ("also_cut", self.also_cut), ("never_cut", self.never_cut)):
            if self.layers != ["all"] and (extra := [n for n in names if n not in self.layers]):
                raise SpecError(f"step.{key} names layer {extra[0]!r}, which the step does not have")
        return self

    @property
    def weights(self) -> bool:
        """Whether the step prunes weights rather than neurons."""
        return self.rule in WEIGHT_RULES

    def rule_for(self, layer: str) -> LayerRule:
        return self.layer.get(layer, self)

    def criterion_for(self, layer: str) -> CriterionName:
        """What the neurons of a layer are ranked by: its own criterion, or the step's where it goes with its rule."""
        own = self.rule_for(layer)
        if own.criterion:
            return own.criterion
        fits = self.criterion in IN_UNITS if own.rule == "maxout" else self.criterion != "relevance"
        return self.criterion if fits else own_criterion(own.rule)

    def _check_criterion(self, name: str, own: LayerRule) -> None:
        criterion = own.criterion or self.criterion_for(name)
        if own.rule == "absolute" and criterion != "apoz":
            raise SpecError(f"rule 'absolute' ({name}) is for APoZ; criterion {criterion!r} needs another rule")
        if own.rule == "maxout" and criterion not in IN_UNITS:
            raise SpecError(f"rule 'maxout' ({name}) ranks by {', '.join(IN_UNITS)}, not by {criterion!r}")
        if own.rule != "maxout" and criterion == "relevance":
            raise SpecError(f"criterion 'relevance' ({name}) ranks the neurons of maxout units: it needs rule 'maxout'")
        if (own.rule in WEIGHT_RULES) != (criterion == "magnitude"):
            raise SpecError(f"rule {own.rule!r} ({name}) does not go by {criterion!r}")


def own_criterion(rule: str | None) -> CriterionName:
    """What a rule goes by where nothing else is said."""
    return "relevance" if rule == "maxout" else "magnitude" if rule in WEIGHT_RULES else "apoz"


class Stop(Section):
    """The run ends when the validation accuracy after retraining falls below `min_accuracy`; the iteration before is
    then the result. Validation, not test: a limit on the test split would be tuning on it."""

    min_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.0


class Control(Section):
    """`scratch`: also train the final widths from new weights, with all the epochs that the trimmed network had."""

    scratch: bool = False


class Devices(Section):
    """`count` processes on one machine carry out the run together, on CUDA each with a device of its own, on the CPU
    with some of its cores (see `distributed`). Batch sizes are those of all processes together."""

    count: Annotated[int, Field(ge=1, le=1024)] = 1


class Verify(Section):
    """A verification that every iteration reports: are two images of the same person, or class? `pairs`: empty, none;
    "test", pairs of images of the test split; "lfw:PATH", those of Labeled Faces in the Wild (see `pairs`)."""

    pairs: Annotated[str, AfterValidator(lambda name: _known_pairs(name))] = ""
    distance: Literal["cosine", "euclidean"] = "cosine"


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


def _known_pairs(name: str) -> str:
    kind, _, path = name.partition(":")
    if name not in ("", "test") and (kind != "lfw" or not path):
        raise SpecError(f"unknown pairs {name!r}; there are 'test' and 'lfw:PATH'")
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
    options: dict[str, int] = {}  # of the model, where it has some: k and width of maxout networks
    parent: Parent | None = None
    base: Base = Base()
    convert: Convert = Convert()
    profile: ProfileSettings = ProfileSettings()
    retrain: Retrain = Retrain()
    distill: Distill = Distill()
    step: Annotated[list[Step], Field(max_length=1000)] = []
    verify: Verify = Verify()
    stop: Stop = Stop()
    control: Control = Control()
    devices: Devices = Devices()

    @model_validator(mode="after")
    def _known_options(self) -> Self:
        from trimcore.models import check_options

        check_options(self.model, self.options)
        return self

    @model_validator(mode="after")
    def _one_name_for_several(self) -> Self:
        if self.devices.count > 1 and (self.device == "mps" or ":" in self.device):
            raise SpecError(f"device = {self.device!r} is one device; devices.count = {self.devices.count} needs "
                            "auto, cuda or cpu")  # fmt: skip
        return self

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

    @property
    def retrain_epochs(self) -> int:
        """Epochs of all iterations that the steps ask for."""
        return sum(step.iterations * self.retrain_after(step).epochs for step in self.step)

    def retrain_after(self, step: Step) -> Retrain:
        """How the network is retrained after a cut of this step."""
        own = step.retrain.model_dump(exclude_none=True, exclude={"distill"}) if step.retrain else None
        return self.retrain.model_copy(update=own)

    def distill_after(self, step: Step) -> Distill:
        """How much of the teacher there is in that."""
        own = step.retrain.distill if step.retrain else None
        return self.distill if own is None else self.distill.model_copy(update={"weight": own})

    @property
    def has_teacher(self) -> bool:
        """Whether any retraining learns from the network of iteration 0."""
        return any(self.distill_after(step).weight for step in self.step)


def parse(values: dict[str, Any]) -> Spec:
    """A checked spec. Raises SpecError with the first problem: the key, the value, and what would be right."""
    try:
        return Spec.model_validate(values)
    except ValidationError as error:
        raise SpecError(shortened(_one_line(error))) from None


def loads(text: str) -> Spec:
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and arrays as deep
        raise SpecError(f"the spec is not valid TOML: {shortened(str(error))}") from None
    return parse(values)


def load(path: str | Path) -> Spec:
    """Read a spec file. Raises SpecError when it cannot be read or does not pass."""
    try:
        with open_ordinary(path, "r", encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise SpecError(
                f"the spec {str(path)!r} has more than {LARGEST:,} characters; a long one has a few thousand"
            )
        return loads(text)
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
        section: type[Section] = Spec
        for part in first["loc"][:-1]:
            section = _section(section, part) or section
        return f"unknown key {key!r}; known are {', '.join(section.model_fields)}"
    key = repr(key)[1:-1]  # a layer's name may hold a line break
    if cause := first.get("ctx", {}).get("error"):
        return f"{key}: {cause}"
    value = repr(first["input"])
    return f"{key} = {value if len(value) <= 60 else value[:57] + '...'}: {first['msg'].lower()}"


def _section(section: type[Section], part: int | str) -> type[Section] | None:
    """The section class below `section` under a key (list positions and layer names lead to what they hold)."""
    known: dict[int | str, type[Section]] = {
        "base": Base, "convert": Convert, "profile": ProfileSettings, "distill": Distill,
        "step": Step, "verify": Verify, "stop": Stop, "control": Control, "parent": Parent, "layer": LayerRule,
        "devices": Devices,
        "retrain": StepRetrain if section is Step else Retrain,
    }  # fmt: skip
    return known.get(part)
