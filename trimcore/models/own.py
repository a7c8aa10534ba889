"""User-defined networks, named `package.module:function`, in the working folder or installed."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from trimcore.errors import SpecError
from trimcore.models import timm, transformers
from trimcore.models.architecture import Architecture
from trimcore.system import own_code


def is_user_defined(name: str) -> bool:
    """Whether a name stands for code of the user's, not for a network of a known package."""
    return ":" in name and not name.startswith((timm.PREFIX, transformers.PREFIX))


def check_allowed(name: str) -> None:
    """Raise SpecError if this process must not import user code."""
    if is_user_defined(name):
        own_code.check_allowed("model", name)


def architecture(name: str) -> Architecture:
    """Import the module and find the function. Raises SpecError with one line that names both."""
    return entry_for(name, own_code.find("model", name))


def entry_for(name: str, function: Any) -> Architecture:
    """The entry for a user's builder, including the metadata from `register` if it is decorated.

    The builder receives those of num_classes, in_channels and image_size that its signature accepts. Raises SpecError
    if it is not callable.
    """
    if not callable(function):
        raise SpecError(f"model {name!r} is of type {type(function).__name__}, not a function that returns a network")
    entry = getattr(function, "architecture", None)
    if not isinstance(entry, Architecture):
        documented = inspect.isroutine(function) or inspect.isclass(function)
        description = (documented and function.__doc__ or "").strip() or "a network of your own"
        entry = Architecture(name, description.splitlines()[0], function)
    return replace(entry, name=name, builder=checked(name, function))


def checked(name: str, function: Callable[..., Any]) -> Callable[..., nn.Module]:
    """A builder that gives a function those arguments that it accepts, and raises SpecError for what goes wrong."""

    def build(**arguments: Any) -> nn.Module:
        given = {key: value for key, value in arguments.items() if _takes(function, key)}
        try:
            network = function(**given)
        except Exception as error:  # a user's function may raise anything
            call = ", ".join(f"{key}={value}" for key, value in given.items())
            raise SpecError(
                f"model {name!r}: {name.rpartition(':')[2]}({call}) raised {own_code.describe(error)}"
            ) from error
        if not isinstance(network, nn.Module):
            raise SpecError(f"model {name!r} returned {type(network).__name__}, not a torch.nn.Module")
        return network

    return build


def _takes(function: Callable[..., Any], key: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # written in C, without a signature
        return True
    return any(p.kind is p.VAR_KEYWORD or (p.name == key and p.kind is not p.POSITIONAL_ONLY) for p in parameters)
