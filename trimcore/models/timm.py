"""timm's networks, named `timm:NAME`, where the package is installed. It is imported only to build or list them."""

import difflib
import importlib.util
from functools import cache, partial
from typing import Any

from torch import Tensor, nn

from trimcore.errors import SpecError, first_line
from trimcore.models.architecture import Architecture

PREFIX = "timm:"


def is_installed() -> bool:
    """Whether the package can be imported. Does not import it."""
    return importlib.util.find_spec("timm") is not None


@cache
def names() -> list[str]:
    """All networks of the installed version as `timm:NAME`, sorted; none without the package. Imports it."""
    return [f"{PREFIX}{name}" for name in _timm().list_models()] if is_installed() else []


def architecture(name: str) -> Architecture:
    """The entry of a network. The image size and the normalisation are those that its weights expect.

    Raises SpecError without the package, and for a name that it does not know.
    """
    timm, own = _timm(), name.removeprefix(PREFIX)
    if not timm.is_model(own):
        known = timm.list_models()
        near = difflib.get_close_matches(own, known, 3, 0.5) or known[:3]
        expected = ", ".join(f"{PREFIX}{one}" for one in near)
        raise SpecError(f"unknown model {name!r}; timm {timm.__version__} has {expected} and {len(known) - 3:,} more")
    settings = timm.models.get_pretrained_cfg(own, allow_unregistered=True)
    fixed = bool(settings.fixed_input_size)
    return Architecture(
        name,
        f"timm's {own}" + (f", for {settings.input_size[-1]}-pixel images" if fixed else ""),
        partial(_build, own, fixed),
        channels=3,
        image_size=settings.input_size[-1] if fixed else None,
        min_size=settings.min_input_size[-1] if settings.min_input_size else 1,
        normalize=(list(settings.mean), list(settings.std)),
        pretrained=partial(_pretrained, own),
    )


def _build(name: str, fixed: bool, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    size = {"img_size": image_size} if fixed else {}
    try:
        network: nn.Module = _timm().create_model(name, num_classes=num_classes, in_chans=in_channels, **size)
    except Exception as error:  # each network has checks of its own
        raise SpecError(
            f"{PREFIX}{name} cannot be built for images of {image_size} pixels: {first_line(error)}"
        ) from error
    return network


def _pretrained(name: str) -> dict[str, Tensor]:
    """Raises OSError or RuntimeError if timm cannot get the weights."""
    state: dict[str, Tensor] = _timm().create_model(name, pretrained=True).state_dict()
    return state


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise SpecError(f"networks of timm need that package: pip install timm ({first_line(error)})") from None
