"""Specs that ship with the package, by file name. A model's first preset is its quick start; a model without presets
uses the generic one."""

import functools
from pathlib import Path

from trimcore.errors import SpecError
from trimcore.spec import Base, Retrain, Spec, Step, load, parse

FOLDER = Path(__file__).parent
GENERIC = Spec(  # moderate learning rates for unknown networks
    base=Base(epochs=6, lr=0.02, batch_size=128),
    retrain=Retrain(epochs=2, lr=0.01, batch_size=128),
    step=[Step(layers=["all"], rule="mean+std", value=1.0, iterations=3)],
)


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


@functools.cache
def preset(name: str) -> Spec:
    """Load a preset by name. Raises SpecError with the existing names for an unknown one."""
    if name not in names():
        raise SpecError(f"unknown preset {name!r}; expected one of {', '.join(names())}")
    return load(FOLDER / f"{name}.toml")


def for_model(model: str) -> dict[str, Spec]:
    """A model's presets, the quick one first."""
    found = {name: preset(name) for name in sorted(names(), key=lambda n: (not n.endswith("quick"), n))}
    return {name: spec for name, spec in found.items() if spec.model == model}


def default_for(model: str) -> Spec:
    """A model's quick start: its first preset, or else the generic one. Raises SpecError for an unknown model."""
    own = next(iter(for_model(model).values()), None)
    return own or parse({**GENERIC.model_dump(exclude_none=True), "model": model})
