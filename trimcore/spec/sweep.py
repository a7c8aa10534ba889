"""The spec section [sweep]: the settings that differ between the runs of a sweep, and when its runs stop.

Pure functions of plain values; `spec.toml` checks each point as a whole spec.
"""

import copy
import itertools
import math
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from trimcore.errors import SpecError
from trimcore.spec.section import Section

MAX_SETTINGS, MAX_RUNS = 2, 64
ORDER = "order"  # a setting of its own: the order in which the layers are cut
OTHER_TASKS = ("name", "sweep", "data", "task")  # with these, the runs could not be compared
WHOLE_STEP = ("smaller", "sparsity-overall")  # rules that rank all layers of a step together

Scalar = bool | int | float | str


class Target(Section):
    """What a run has to reach on the validation split for the whole sweep to stop: `accuracy`, or `limit` for the
    headline metric of any task, at a network that is `smaller` times smaller or takes `less_work`."""

    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    limit: float | None = None
    smaller: Annotated[float, Field(gt=1, le=1_000_000)] | None = None
    less_work: Annotated[float, Field(gt=1, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _value_and_size(self) -> Self:
        if (self.accuracy is None) == (self.limit is None):
            raise SpecError("a target needs one value to reach: accuracy, or limit for any other metric")
        if self.smaller is None and self.less_work is None:
            raise SpecError("a target needs a size to reach: smaller, less_work, or both")
        return self


class Sweep(Section):
    """`values`: a setting, as its dotted key in the spec -> its values. `stop_behind`: a run stops when it is this far
    behind another one of the same size, in units of the headline metric; 0 is off (see `jobs.sweep_rule`)."""

    values: dict[str, list[Any]]
    stop_behind: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    target: Target | None = None

    @field_validator("values", mode="before")
    @classmethod
    def _dotted(cls, values: Any) -> Any:
        """`step.value = [...]` and `"step.value" = [...]` are the same."""
        return _flat(values) if isinstance(values, dict) else values

    @field_validator("values")
    @classmethod
    def _sensible(cls, values: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if not 1 <= len(values) <= MAX_SETTINGS:
            raise SpecError(f"a sweep has one or two settings, not {len(values)}")
        for key, options in values.items():
            if key.partition(".")[0] in OTHER_TASKS:
                raise SpecError(f"{key} cannot be swept: the runs of a sweep must be comparable")
            if not options:
                raise SpecError(f"{key} has no values")
            for number, value in enumerate(options):
                if not _is_plain(value):
                    raise SpecError(f"{key} = {_quoted(value)}: a value is a number, a text, true or false, or a list "
                                    "of these")  # fmt: skip
                if value in options[:number]:
                    raise SpecError(f"{key} = {_quoted(value)} is listed twice")
        count = math.prod(map(len, values.values()))
        if not 2 <= count <= MAX_RUNS:
            raise SpecError(f"a sweep has 2 to {MAX_RUNS} runs, not {count}")
        return values

    def points(self) -> list[dict[str, Any]]:
        """The settings of each run. The last setting changes fastest."""
        return [dict(zip(self.values, chosen, strict=True)) for chosen in itertools.product(*self.values.values())]


def with_settings(values: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The values of a plain spec with these settings. `step.0.value` is that of the first step, `step.value` that of
    all steps. Raises SpecError for a key that leads nowhere."""
    made = copy.deepcopy({key: value for key, value in values.items() if key != "sweep"})
    for key, value in settings.items():
        if key == ORDER:
            made["step"] = _ordered(made.get("step") or [], value)
            continue
        first, *rest = _parts(key)
        if first != "step":
            _put(made, [first, *rest], key, value)
            continue
        steps = made.get("step") or []
        chosen = steps
        if rest and rest[0].isdigit():
            number, rest = int(rest[0]), rest[1:]
            chosen = steps[number : number + 1]
        if not chosen:
            raise SpecError(f"the spec has {len(steps)} step{'s' * (len(steps) != 1)}, counted from step.0")
        for step in chosen:
            _put(step, rest, key, value)
    return made


def _parts(key: str) -> list[str]:
    """The parts of a dotted key. What follows `layer` up to the last part is a layer's name, which may have dots."""
    parts = key.split(".")
    if "layer" in parts[1:-2]:
        place = parts.index("layer", 1) + 1
        parts[place:-1] = [".".join(parts[place:-1])]
    return parts


def _put(holder: dict[str, Any], parts: list[str], key: str, value: Any) -> None:
    for part in parts[:-1]:
        if holder.get(part) is None:
            holder[part] = {}
        holder = holder[part]
        if not isinstance(holder, dict):
            raise SpecError(f"{part!r} has no keys")
    if not parts or isinstance(holder.get(parts[-1]), dict):
        raise SpecError(f"{key} is a section: name one of its keys")
    holder[parts[-1]] = value


def _ordered(steps: list[dict[str, Any]], order: Any) -> list[dict[str, Any]]:
    """The steps, divided into one for each layer, in this order of the layers."""
    named = [name for step in steps for name in step["layers"]]
    if "all" in named or len(set(named)) < len(named):
        raise SpecError("the steps must name their layers, each of them once")
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(named):
        raise SpecError(f"an order names each layer of the steps once: {', '.join(named)}")
    divided: dict[str, dict[str, Any]] = {}
    for step in steps:
        if len(step["layers"]) > 1 and step.get("rule") in WHOLE_STEP:
            raise SpecError(f"rule {step['rule']!r} is for all layers of its step together: they have no order")
        for name in step["layers"]:
            own = {key: {name: step[key][name]} if name in step[key] else {}
                   for key in ("layer", "also_cut", "never_cut") if step.get(key)}  # fmt: skip
            divided[name] = {**step, "layers": [name], **own}
    return [divided[name] for name in order]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, Scalar) for each in value)
    return isinstance(value, Scalar)


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
