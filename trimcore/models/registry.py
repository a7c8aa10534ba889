"""The architectures that can be built by name: built-in, torchvision's, from installed packages, and user-defined.

Every builder takes `num_classes`, `in_channels` and `image_size`, so one architecture serves several data sets. It also
takes the options that its entry lists. One `@register` line adds an architecture.
"""

import contextlib
import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from trimcore.compute.inputs import repeated
from trimcore.errors import SpecError
from trimcore.models import own, plugins, timm, torchvision, transformers
from trimcore.models.architecture import Architecture
from trimcore.models.lenet import LENET5, LENET5_MAXOUT
from trimcore.models.vgg import VGG16_MAXOUT, VGG16_SMALL, VGG16_SMALL_MAXOUT
from trimcore.system import own_code

Builder = TypeVar("Builder", bound=Callable[..., nn.Module])


def _built_in() -> dict[str, Architecture]:
    """Ours and the paper's first, then torchvision's by family."""
    others = torchvision.entries()
    line = "torchvision's VGG-16, 138 million parameters, for 224-pixel colour images; ImageNet weights available"
    vgg16 = replace(others["vgg16"], description=line, image_size=224)
    ours = (LENET5, LENET5_MAXOUT, vgg16, VGG16_MAXOUT, VGG16_SMALL, VGG16_SMALL_MAXOUT)
    return {entry.name: entry for entry in ours} | {**others, "vgg16": vgg16}


REGISTRY: dict[str, Architecture] = _built_in()
BUILT_IN = frozenset(REGISTRY)


def register(name: str, description: str, **fields: Any) -> Callable[[Builder], Builder]:
    """Register a builder under a name. It receives those of num_classes, in_channels and image_size that it accepts.

    `fields` sets further fields of `Architecture`. They also apply if the function is named as
    `package.module:function` or is an entry point. Raises SpecError for the name of a built-in architecture.
    """
    if name in BUILT_IN:
        raise SpecError(f"{name!r} is the name of a built-in model: register yours under another name")

    own_code.note_registered("model", name)

    def add(builder: Builder) -> Builder:
        REGISTRY[name] = Architecture(name, description, own.checked(name, builder), **fields)
        with contextlib.suppress(AttributeError, TypeError):  # an object that takes no attributes
            builder.architecture = REGISTRY[name]  # type: ignore[attr-defined]
        return builder

    return add


def listed() -> dict[str, str]:
    """Every available name, with a one-line description. Loads nothing but the modules in use."""
    own_code.load_used()
    from_packages = {
        name: f"from the installed package {' and '.join(map(plugins.package_of, entries))}"
        for name, entries in sorted(plugins.installed().items())
        if name not in REGISTRY
    }
    named = {name: entry for name, entry in REGISTRY.items() if not name.startswith(own_code.OBJECT)}
    return {name: entry.description for name, entry in named.items()} | from_packages


def offered() -> dict[str, str]:
    """`listed`, and the networks of timm if it is installed. Imports timm."""
    return listed() | dict.fromkeys(timm.names(), "from the installed package timm")


def refused() -> list[str]:
    """One line for each entry point refused because it uses the name of a built-in model."""
    return [
        f"model {name!r} of package {plugins.package_of(entry)} is refused: it is the name of a built-in model"
        for name, entries in plugins.installed().items()
        if name in BUILT_IN
        for entry in entries
    ]


def check_name(name: str) -> None:
    """Raise SpecError for a name that `architecture` does not know. Imports nothing but the modules in use."""
    own_code.load_used()
    if name in REGISTRY:
        return
    if own.is_user_defined(name):
        own_code.check_form("model", name)
    elif ":" in name:
        if not name.partition(":")[2]:
            raise SpecError(f"model {name!r} lacks what comes after the colon: timm:NAME or hf:FOLDER")
    elif name not in plugins.installed():
        known = listed()
        near = difflib.get_close_matches(name, known, 5, 0.5) or list(known)[:5]
        raise SpecError(
            f"unknown model {name!r}; expected {', '.join(near)}, one of {len(known) - len(near)} more (see `models`), "
            "timm:NAME, hf:FOLDER, package.module:function, or a name from TRIMCORE_USE"
        )


def check_options(name: str, options: Mapping[str, int]) -> None:
    """Raise SpecError if a registered architecture lacks an option, or its value is out of range.

    Imports nothing: options of a `package.module:function` or an entry point are checked when it is built.
    """
    if name in REGISTRY:
        REGISTRY[name].options_for(options)


def options_for(name: str, requested: Mapping[str, int]) -> dict[str, int]:
    """All options of an architecture, with defaults filled in. Raises SpecError as `architecture` and `build` do."""
    return architecture(name).options_for(requested)


def architecture(name: str) -> Architecture:
    """The entry for a name, imported if it is not registered. Raises SpecError for an unknown name or broken module."""
    check_name(name)
    if name in REGISTRY:
        return REGISTRY[name]
    if name.startswith(timm.PREFIX):
        return timm.architecture(name)
    if name.startswith(transformers.PREFIX):
        return transformers.architecture(name)
    return own.architecture(name) if own.is_user_defined(name) else plugins.architecture(name)


def build(
    name: str, num_classes: int = 10, in_channels: int | None = None, image_size: int | None = None, **options: int
) -> nn.Module:
    """Build a network with new weights, in training mode. `options` are those of the architecture.

    >>> sum(p.numel() for p in build("lenet5").parameters())
    431080

    Raises SpecError for an unknown name, and for images or options that the architecture does not take.
    """
    entry = architecture(name)
    return entry.build(**_arguments(entry, num_classes, in_channels, image_size), **options)


def empty(
    name: str, num_classes: int = 10, in_channels: int | None = None, image_size: int | None = None, **options: int
) -> nn.Module:
    """Like `build`, but without memory for the weights (see `Architecture.empty`)."""
    entry = architecture(name)
    return entry.empty(**_arguments(entry, num_classes, in_channels, image_size), **options)


def renew(name: str, model: nn.Module, **arguments: int) -> nn.Module:
    """Reinitialise `model` at its own widths (see `Architecture.renew`). Changes `model`."""
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


def example_input(arguments: dict[str, int], batch: int = 1, model: str = "") -> Any:
    """A batch of inputs for a network built with these arguments: zeros (batch, C, S, S), or what `model` says."""
    if model and (entry := architecture(model)).example is not None:
        return repeated(entry.example_input(arguments), batch)
    return torch.zeros(batch, arguments["in_channels"], arguments["image_size"], arguments["image_size"])
