"""The complete spec of a run.

A run whose spec has no `[[step]]` trains or loads the base network, profiles it and stops. The dashboard uses this to
show the APoZ before there is a plan, then branches from that run.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from trimcore.errors import SpecError
from trimcore.spec.measurement import Control, Log, ProfileSettings, Stop, Verify
from trimcore.spec.section import Natural, Section
from trimcore.spec.step import Step
from trimcore.spec.sweep import Sweep
from trimcore.spec.training import Base, Convert, Distill, Retrain, Training

CLASSIFICATION = "classification"
AGREEMENT = "agreement"  # of images without labels
FOR_CLASSES: dict[str, object] = {  # settings of training that need classes of images -> the value that does nothing
    "augment": "none", "mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0, "class_weights": "none",
}  # fmt: skip


class Devices(Section):
    """`count` processes on one machine share the run (see `compute.distributed`). On CUDA each has its own device, on
    the CPU a share of the cores. Batch sizes count all processes together."""

    count: Annotated[int, Field(ge=1, le=1024)] = 1


class Parent(Section):
    """The iteration of another run that a branch starts from."""

    run: str
    iteration: Natural = 0


def _known_model(name: str) -> str:
    """For `package.module:function`, checks only the form: reading a spec must not import the code that it names."""
    from trimcore.models import check_name  # imported here so that a process that only reads runs never loads torch

    check_name(name)
    return name


def _known_data(name: str) -> str:
    from trimcore.data import check_name

    check_name(name)
    return name


def _known_task(name: str) -> str:
    if name != CLASSIFICATION:  # so that most specs are read without loading torch
        from trimcore.tasks import check_name

        check_name(name)
    return name


def _device_name(name: str) -> str:
    kind, _, index = name.partition(":")
    if kind in ("auto", "cpu", "cuda", "mps") and (not index or (kind == "cuda" and index.isdigit())):
        return name
    raise SpecError(f"unknown device {name!r}; expected auto, cpu, cuda, cuda:N or mps")


class Spec(Section):
    """Every key has a default. `task` is what is learned, see `tasks`: other tasks than classification take data of the
    user's own. `image_size` and `channels` of 0 follow the model or the data. `resize` says how image
    files become square, see `data.decoding.read_image`. `options` are integer options of the model, such as k and width
    of maxout networks. `whole_heads` and `embeddings` say what all steps can remove, see `graph.tracing.trace`. A spec
    with a `sweep` stands for several runs, see `spec.toml.points`; the spec of a run has none."""

    model: Annotated[str, AfterValidator(_known_model)] = "lenet5"
    data: Annotated[str, AfterValidator(_known_data)] = "mnist-5k"
    task: Annotated[str, AfterValidator(_known_task)] = CLASSIFICATION
    name: Annotated[str, Field(max_length=80)] = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: Annotated[str, AfterValidator(_device_name)] = "auto"
    image_size: Annotated[int, Field(ge=0, le=4096)] = 0
    channels: Literal[0, 1, 3] = 0
    resize: Literal["crop", "stretch", "pad"] = "crop"
    options: dict[str, int] = {}
    whole_heads: bool = False
    embeddings: bool = False
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
    log: Log = Log()
    devices: Devices = Devices()
    sweep: Sweep | None = None

    @model_validator(mode="before")
    @classmethod
    def _task_of_the_data(cls, values: Any) -> Any:
        if isinstance(values, dict) and "task" not in values and isinstance(values.get("data"), str):
            from trimcore.data import task_of

            values = {**values, "task": task_of(values["data"])}
        if isinstance(values, dict) and values.get("task") == AGREEMENT:
            given = {key: values.get(key) or {} for key in ("distill", "base")}
            if all(isinstance(section, dict) for section in given.values()):
                values = {**values, "distill": {"weight": 1.0, **given["distill"]},
                          "base": {"epochs": 0, **given["base"]}}  # fmt: skip
        return values

    @model_validator(mode="after")
    def _known_options(self) -> Self:
        from trimcore.models import check_options

        check_options(self.model, self.options)
        return self

    @model_validator(mode="after")
    def _fits_the_task(self) -> Self:
        if self.data.startswith("unlabelled:") and self.task != AGREEMENT:
            raise SpecError(f"images without labels are for task 'agreement', not {self.task!r}")
        if self.task == CLASSIFICATION:
            return self
        named: dict[str, Training] = {"base": self.base, "convert": self.convert, "retrain": self.retrain}
        named |= {f"step {i}.retrain": self.retrain_after(step) for i, step in enumerate(self.step, 1)}
        for name, section in named.items():
            for key, unused in FOR_CLASSES.items():
                if (value := getattr(section, key)) != unused:
                    raise SpecError(f"{name}.{key} = {value!r} is for classification, not for task {self.task!r}")
        if self.task == AGREEMENT:
            self._check_teacher()
        elif self.has_teacher:
            raise SpecError(f"distillation compares scores of classes, which task {self.task!r} does not have")
        if self.sweep and self.sweep.target and self.sweep.target.accuracy is not None:
            raise SpecError(f"sweep.target.accuracy is for accuracy; with task {self.task!r}, set sweep.target.limit")
        if self.stop.min_accuracy:
            raise SpecError(f"stop.min_accuracy is for accuracy; with task {self.task!r}, set stop.limit")
        if "taylor" in self.criteria:
            raise SpecError(f"criterion 'taylor' needs labels of classes, which task {self.task!r} does not have")
        if self.verify.pairs:
            raise SpecError(f"verify.pairs compares classes, which task {self.task!r} does not have")
        return self

    def _check_teacher(self) -> None:
        if not self.data.startswith("unlabelled:"):
            raise SpecError("task 'agreement' is for images without labels: data = \"unlabelled:PATH\"")
        if not self.base.weights and not self.parent:
            raise SpecError("images without labels need a trained network: give base.weights, or a parent")
        if self.base_epochs or self.convert_epochs or self.control.scratch:
            raise SpecError("without labels, a network is only retrained by its teacher: set base.epochs = 0, no "
                            "[convert], and no control")  # fmt: skip
        if any(self.retrain_after(step).epochs and self.distill_after(step).weight != 1 for step in self.step):
            raise SpecError("without labels, distill.weight must be 1: the teacher's share of the loss is all of it")

    @model_validator(mode="after")
    def _momentum_can_be_kept(self) -> Self:
        after = [self.retrain_after(step) for step in self.step]
        before = [*after, *([self.base] if self.base_epochs else []), *([self.convert] if self.convert_epochs else [])]
        if self.retrain.keep_momentum and any(own.optimizer != self.retrain.optimizer for own in before):
            raise SpecError("keep_momentum needs the same optimizer in [base], [convert], [retrain] and all steps")
        return self

    @model_validator(mode="after")
    def _device_allows_several_processes(self) -> Self:
        if self.devices.count > 1 and (self.device == "mps" or ":" in self.device):
            raise SpecError(f"device = {self.device!r} is a single device; devices.count = {self.devices.count} needs "
                            "auto, cuda or cpu")  # fmt: skip
        return self

    @property
    def removable(self) -> dict[str, bool]:
        """What can be removed beside single neurons: the options of `trace`."""
        return {"whole_heads": self.whole_heads, "embeddings": self.embeddings}

    @property
    def base_epochs(self) -> int:
        """Epochs before iteration 0: none for a branch or a checkpoint. Pretrained weights and new heads need them."""
        return self.base.epochs if self.base.is_trained and not self.parent else 0

    @property
    def convert_epochs(self) -> int:
        """Epochs of activation conversion. A branch from a converted network skips them."""
        return self.convert.epochs if self.convert.to else 0

    @property
    def iterations(self) -> int:
        """The number of iterations in all steps. A step ends early if its rule finds nothing more to cut."""
        return sum(step.iterations for step in self.step)

    @property
    def retrain_epochs(self) -> int:
        """The retraining epochs of all iterations in all steps."""
        return sum(step.iterations * self.retrain_after(step).epochs for step in self.step)

    @property
    def criteria(self) -> set[str]:
        """All criteria that any step ranks by."""
        return set().union(*(step.criteria for step in self.step))

    def retrain_after(self, step: Step) -> Retrain:
        """The retraining settings after a cut in this step."""
        own = step.retrain.model_dump(exclude_none=True, exclude={"distill"}) if step.retrain else None
        return self.retrain.model_copy(update=own)

    def distill_after(self, step: Step) -> Distill:
        """The distillation settings after a cut in this step."""
        own = step.retrain.distill if step.retrain else None
        return self.distill if own is None else self.distill.model_copy(update={"weight": own})

    @property
    def has_teacher(self) -> bool:
        """Whether any retraining distils from the network of iteration 0."""
        return self.task == AGREEMENT or any(self.distill_after(step).weight for step in self.step)
