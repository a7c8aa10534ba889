"""Specs that come with the package, by file name. The first one of a model is what its quick start does; a model that
has none starts with the generic one."""

import functools
from pathlib import Path

from trimcore.errors import SpecError
from trimcore.spec import Base, Retrain, Spec, Step, load, parse

FOLDER = Path(__file__).parent
GENERIC = Spec(  # moderate learning rates, for networks of which nothing is known
    base=Base(epochs=6, lr=0.02, batch_size=128),
    retrain=Retrain(epochs=2, lr=0.01, batch_size=128),
    step=[Step(layers=["all"], rule="mean+std", value=1.0, iterations=3)],
)


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


@functools.cache
def preset(name: str) -> Spec:
    """The preset of that name. Raises SpecError naming those that exist."""
    if name not in names():
        raise SpecError(f"unknown preset {name!r}; there are {', '.join(names())}")
    return load(FOLDER / f"{name}.toml")


def for_model(model: str) -> dict[str, Spec]:
    """The presets of a model, the quick one first."""
    found = {name: preset(name) for name in sorted(names(), key=lambda n: (not n.endswith("quick"), n))}
    return {name: spec for name, spec in found.items() if spec.model == model}


def default_for(model: str) -> Spec:
    """What a model's quick start does: its first preset, else the generic one. Raises SpecError for an unknown name."""
    own = next(iter(for_model(model).values()), None)
    return own or parse({**GENERIC.model_dump(exclude_none=True), "model": model})
