"""The architectures that can be built by name: ours, torchvision's, those of installed packages, and the user's own.

Every builder takes `num_classes`, `in_channels` and `image_size`, so that one architecture serves several data sets,
and the options that its entry names. A new one joins with one `@register` line.
"""

import contextlib
import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from trimcore.errors import SpecError
from trimcore.models import own, plugins, torchvision
from trimcore.models.architecture import Architecture
from trimcore.models.lenet import LENET5, LENET5_MAXOUT
from trimcore.models.vgg import VGG16_MAXOUT, VGG16_SMALL, VGG16_SMALL_MAXOUT

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])


def _built_in() -> dict[str, Architecture]:
    """Ours and the paper's first, then torchvision's, family by family."""
    others = torchvision.entries()
    line = "torchvision's VGG-16, 138 million parameters, for 224-pixel colour images; ImageNet weights to be had"
    vgg16 = replace(others["vgg16"], description=line, image_size=224)
    ours = (LENET5, LENET5_MAXOUT, vgg16, VGG16_MAXOUT, VGG16_SMALL, VGG16_SMALL_MAXOUT)
    return {entry.name: entry for entry in ours} | {**others, "vgg16": vgg16}


REGISTRY: dict[str, Architecture] = _built_in()
BUILT_IN = frozenset(REGISTRY)


def register(name: str, description: str, **wants: Any) -> Callable[[Builder], Builder]:
    """Decorate a builder `(num_classes, in_channels, image_size) -> nn.Module` so that it can be built by name.

    `wants` are further fields of `Architecture`. They hold too where the function is named as `package.module:function`
    or is an entry point. Raises SpecError for the name of a built-in architecture.
    """
    if name in BUILT_IN:
        raise SpecError(f"{name!r} is the name of a built-in model: register yours under another one")

    def add(builder: Builder) -> Builder:
        REGISTRY[name] = Architecture(name, description, builder, **wants)
        with contextlib.suppress(AttributeError, TypeError):  # an object without room for it
            builder.architecture = REGISTRY[name]  # type: ignore[attr-defined]
        return builder

    return add


def listed() -> dict[str, str]:
    """Every name that can be chosen from, with one line for people. Nothing is loaded for it."""
    from_packages = {
        name: f"from the installed package {' and '.join(map(plugins.package_of, entries))}"
        for name, entries in sorted(plugins.offered().items())
        if name not in REGISTRY
    }
    return {name: entry.description for name, entry in REGISTRY.items()} | from_packages


def refused() -> list[str]:
    """One line for each entry point that takes a built-in model's name; the built-in model keeps it."""
    return [
        f"model {name!r} of the package {plugins.package_of(entry)} is refused: it is the name of a built-in model"
        for name, entries in plugins.offered().items()
        if name in BUILT_IN
        for entry in entries
    ]


def check_name(name: str) -> None:
    """Refuse a name that `architecture` could not know, without importing anything for it. Raises SpecError."""
    if own.is_own(name):
        own.check_form(name)
    elif name not in REGISTRY and name not in plugins.offered():
        known = listed()
        near = difflib.get_close_matches(name, known, 5, 0.5) or list(known)[:5]
        raise SpecError(
            f"unknown model {name!r}; there are {', '.join(near)} and {len(known) - len(near)} more (see `models`), "
            "or package.module:function"
        )


def check_options(name: str, options: Mapping[str, int]) -> None:
    """Refuse options that a registered architecture does not have, or that are out of range. Raises SpecError.

    Nothing is imported: those of a `package.module:function` or an entry point are checked when it is built.
    """
    if name in REGISTRY:
        REGISTRY[name].options_for(options)


def options_for(name: str, asked: Mapping[str, int]) -> dict[str, int]:
    """All options of an architecture: as asked, or their defaults. Raises SpecError like `architecture` and `build`."""
    return architecture(name).options_for(asked)


def architecture(name: str) -> Architecture:
    """The entry of that name, loaded if it is somebody's. Raises SpecError for an unknown name or a broken module."""
    check_name(name)
    if name in REGISTRY:
        return REGISTRY[name]
    return own.architecture(name) if own.is_own(name) else plugins.architecture(name)


def build(
    name: str, num_classes: int = 10, in_channels: int | None = None, image_size: int | None = None, **options: int
) -> nn.Module:
    """A fresh network with new weights, in training mode. `options` are those that the architecture has.

    >>> sum(p.numel() for p in build("lenet5").parameters())
    431080

    Raises SpecError for an unknown name, and for images and options that the architecture does not take.
    """
    entry = architecture(name)
    return entry.build(**_arguments(entry, num_classes, in_channels, image_size), **options)


def empty(
    name: str, num_classes: int = 10, in_channels: int | None = None, image_size: int | None = None, **options: int
) -> nn.Module:
    """Like `build`, but without memory for the weights: see `Architecture.empty`."""
    entry = architecture(name)
    return entry.empty(**_arguments(entry, num_classes, in_channels, image_size), **options)


def renew(name: str, model: nn.Module, **arguments: int) -> nn.Module:
    """Give `model`, whatever its widths, new weights: see `Architecture.renew`. Changes `model`."""
    entry = architecture(name)
    shape = {key: arguments.pop(key, None) for key in ("in_channels", "image_size")}
    return entry.renew(model, **_arguments(entry, arguments.pop("num_classes", 10), **shape), **arguments)


def _arguments(
    entry: Architecture, num_classes: int, in_channels: int | None, image_size: int | None
) -> dict[str, int]:  # fmt: skip
    return {
        "num_classes": num_classes,
        "in_channels": entry.channels_for(1) if in_channels is None else in_channels,
        "image_size": entry.size_for(28) if image_size is None else image_size,
    }


def example_input(arguments: dict[str, int], batch: int = 1) -> Tensor:
    """A batch of zeros (batch, C, S, S) of the shape that a network built with these arguments takes."""
    return torch.zeros(batch, arguments["in_channels"], arguments["image_size"], arguments["image_size"])
