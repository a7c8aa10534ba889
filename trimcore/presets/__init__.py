"""Specs that come with the package, by file name. The first one of a model is what its quick start does."""

import functools
from pathlib import Path

from trimcore.errors import SpecError
from trimcore.spec import Spec, load

FOLDER = Path(__file__).parent


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
