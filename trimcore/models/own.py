"""User-defined networks, named `package.module:function`, in the working folder or installed."""

import importlib
import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from trimcore.errors import SpecError, first_line
from trimcore.models import timm, transformers
from trimcore.models.architecture import Architecture

FORBIDDEN = "TRIMCORE_FORBID_IMPORTS"  # environment variable: this process must not import modules that a spec names


def forbid_imports() -> None:
    """Forbid this process and its children from importing code that a spec names: the dashboard's specs come from a
    browser."""
    os.environ[FORBIDDEN] = "1"


def is_user_defined(name: str) -> bool:
    """Whether a name stands for code of the user's, not for a network of a known package."""
    return ":" in name and not name.startswith((timm.PREFIX, transformers.PREFIX))


def check_form(name: str) -> None:
    """Raise SpecError unless the name has the form `package.module:function`. Imports nothing."""
    module, _, function = name.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not function.isidentifier():
        raise SpecError(f"model {name!r} does not have the form package.module:function")


def check_allowed(name: str) -> None:
    """Raise SpecError if this process must not import user code."""
    if is_user_defined(name) and os.environ.get(FORBIDDEN):
        raise SpecError(
            f"{name} is a network of your own, and the dashboard does not import user code: it shows such runs, but "
            "you plan, start and export them on the command line, python -m trimcore"
        )


def architecture(name: str) -> Architecture:
    """Import the module and find the function. Raises SpecError with one line that names both."""
    check_form(name)
    check_allowed(name)
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise SpecError(f"model {name!r}: cannot import {module_name}: {_describe(error)}") from error
    if not hasattr(module, function_name):
        raise SpecError(f"model {name!r}: module {module_name} has no {function_name!r}")
    return entry_for(name, getattr(module, function_name))


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
    return replace(entry, name=name, builder=_checked(name, function))


def _checked(name: str, function: Callable[..., Any]) -> Callable[..., nn.Module]:
    def build(**arguments: Any) -> nn.Module:
        given = {key: value for key, value in arguments.items() if _takes(function, key)}
        try:
            network = function(**given)
        except Exception as error:  # a user's function may raise anything
            call = ", ".join(f"{key}={value}" for key, value in given.items())
            raise SpecError(f"model {name!r}: {name.rpartition(':')[2]}({call}) raised {_describe(error)}") from error
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


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
