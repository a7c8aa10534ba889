"""A registry entry: how to build a network, its input requirements, and its options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.errors import SpecError
from trimcore.models import allocation


@dataclass(frozen=True)
class Option:
    """An integer option of an architecture, from `least` to `most`. `description` is one readable line."""

    default: int
    least: int
    most: int
    description: str


@dataclass(frozen=True)
class Architecture:
    """`builder` takes num_classes, in_channels, image_size and each of `options` by keyword, and returns a network with
    new weights.

    `channels` and `image_size` are the required input channels and the preferred size in pixels, or None to use the
    data's own. `min_size` is the smallest image in pixels that the forward pass accepts; sizes are multiples of
    `multiple`. `example` returns a batch with one example of the inputs, for networks that do not take square images: a
    tensor, or a tuple of positional inputs. `normalize` is (mean, std) per channel, or None for the statistics of the
    training split. `pretrained` returns a state dict, downloaded if necessary.
    """

    name: str
    description: str
    builder: Callable[..., nn.Module]
    channels: int | None = None
    image_size: int | None = None
    min_size: int = 1
    normalize: tuple[list[float], list[float]] | None = None
    pretrained: Callable[[], dict[str, Tensor]] | None = None
    multiple: int = 1
    options: Mapping[str, Option] = field(default_factory=dict)
    example: Callable[[], Any] | None = None

    def example_input(self, arguments: Mapping[str, int]) -> Any:
        """A batch with one example of the network's inputs: `example`, or zeros (1, C, S, S) for these arguments."""
        if self.example is not None:
            return self.example()
        return torch.zeros(1, arguments["in_channels"], arguments["image_size"], arguments["image_size"])

    def channels_for(self, own: int, requested: int = 0) -> int:
        """The input channels for data with `own` channels: requested, required, or the data's own.

        Raises SpecError if the network does not take the channels asked for.
        """
        if self.channels and requested not in (0, self.channels):
            raise SpecError(f"{self.name} takes {self.channels} channels, not {requested}")
        return requested or self.channels or own

    def size_for(self, own: int, requested: int = 0) -> int:
        """The pixels to resize images of `own` pixels to: requested, preferred, or large enough."""
        return requested or self.image_size or -(-max(own, self.min_size) // self.multiple) * self.multiple

    def options_for(self, requested: Mapping[str, int]) -> dict[str, int]:
        """All options: requested values or defaults. Raises SpecError for an unknown option or a value out of range."""
        for key, value in requested.items():
            if key not in self.options:
                known = f"expected one of {', '.join(self.options)}" if self.options else "it has no options"
                raise SpecError(f"{self.name} has no option {key!r}; {known}")
            least, most = self.options[key].least, self.options[key].most
            if type(value) is not int or not least <= value <= most:
                raise SpecError(f"{self.name} takes an integer from {least} to {most} for {key}, not {value!r}")
        return {key: requested.get(key, option.default) for key, option in self.options.items()}

    def build(self, num_classes: int, in_channels: int, image_size: int, **options: int) -> nn.Module:
        """Build a network in training mode. Raises SpecError for an input or options that it does not take."""
        if image_size < self.min_size:
            raise SpecError(f"{self.name} needs images of at least {self.min_size} pixels, not {image_size}")
        if image_size % self.multiple:
            low = image_size // self.multiple * self.multiple
            near = " or ".join(str(size) for size in (low, low + self.multiple) if size >= self.min_size)
            wanted = f"a multiple of {self.multiple} pixels, such as {near}"
            raise SpecError(f"{self.name} needs images of {wanted}, not {image_size}")
        self.channels_for(in_channels, in_channels)
        chosen = self.options_for(options)
        return self.builder(num_classes=num_classes, in_channels=in_channels, image_size=image_size, **chosen)

    def empty(self, **arguments: int) -> nn.Module:
        """Like `build`, but everything in the state dict is on the meta device: shapes without memory. Tensors outside
        the state dict are real."""
        return allocation.without_memory(lambda: self.build(**arguments))

    def renew(self, network: nn.Module, **arguments: int) -> nn.Module:
        """Reinitialise `network`, at its own widths, as `build` would. Changes `network`.

        See `allocation.renew` for what this means for different kinds of builders.
        """
        return allocation.renew(network, lambda: self.build(**arguments))

    def arguments_for(
        self, num_classes: int, channels: int, image_size: int, requested: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """The arguments to `build` for data with these classes, channels and pixels; `requested` are options.

        Raises SpecError as `options_for` does.
        """
        shape = {"num_classes": num_classes, "in_channels": channels, "image_size": image_size}
        return {**shape, **self.options_for(requested or {})}
