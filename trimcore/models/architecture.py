"""An entry of the registry: how a network is built, what it wants of its input, and what can be chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from trimcore.errors import SpecError
from trimcore.models import allocation


@dataclass(frozen=True)
class Option:
    """A number that can be chosen for an architecture, from `least` to `most`; `description` is a line for people."""

    default: int
    least: int
    most: int
    description: str


@dataclass(frozen=True)
class Architecture:
    """`builder` takes num_classes, in_channels and image_size by keyword, and each of `options` too; it returns a
    network with new weights.

    `channels` and `image_size` are what the network wants of its input, or None where it takes what the data has.
    `min_size` is the smallest image in pixels that its forward pass works for; sizes are multiples of `multiple`.
    `normalize` is (mean, std) per channel, or None for the statistics of the training split. `pretrained` gives a state
    dict, downloaded when there is a network.
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

    def channels_for(self, own: int, asked: int = 0) -> int:
        """The channels that data with `own` channels are given to this network with: asked, wanted, or their own.

        Raises SpecError when others are asked for than it takes.
        """
        if self.channels and asked not in (0, self.channels):
            raise SpecError(f"{self.name} takes {self.channels} channels, not {asked}")
        return asked or self.channels or own

    def size_for(self, own: int, asked: int = 0) -> int:
        """The pixels that images of `own` pixels are resized to for this network: asked, natural, or large enough."""
        return asked or self.image_size or -(-max(own, self.min_size) // self.multiple) * self.multiple

    def options_for(self, asked: Mapping[str, int]) -> dict[str, int]:
        """All options: as asked, or their defaults. Raises SpecError for one that there is not, or out of range."""
        for key, value in asked.items():
            if key not in self.options:
                there_is = f"there is {', '.join(self.options)}" if self.options else "it has none"
                raise SpecError(f"{self.name} has no option {key!r}; {there_is}")
            least, most = self.options[key].least, self.options[key].most
            if type(value) is not int or not least <= value <= most:
                raise SpecError(f"{self.name} takes a whole number from {least} to {most} for {key}, not {value!r}")
        return {key: asked.get(key, option.default) for key, option in self.options.items()}

    def build(self, num_classes: int, in_channels: int, image_size: int, **options: int) -> nn.Module:
        """A network in training mode. Raises SpecError for an input or options that it does not take."""
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
        """Like `build`, but what a state dict holds is on the meta device: shapes without memory. Tensors that no state
        dict holds are real."""
        return allocation.without_memory(lambda: self.build(**arguments))

    def renew(self, network: nn.Module, **arguments: int) -> nn.Module:
        """Give `network`, whatever its widths, the new weights that `build` would give it. Changes `network`.

        See `allocation.renew` for what that means for a builder of any kind.
        """
        return allocation.renew(network, lambda: self.build(**arguments))

    def arguments_for(
        self, num_classes: int, channels: int, image_size: int, asked: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """What `build` is called with for data of these classes, channels and pixels; `asked` are options. Raises
        SpecError."""
        shape = {"num_classes": num_classes, "in_channels": channels, "image_size": image_size}
        return {**shape, **self.options_for(asked or {})}
