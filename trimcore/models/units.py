"""What networks with maxout units behind their hidden linear layers share: their options, and the units themselves."""

from torch import nn

from trimcore.errors import SpecError
from trimcore.layers.maxout import Maxout
from trimcore.models.architecture import Option

LEAST, MOST = 4, 16_384  # neurons of a layer


def options(width: int, layers: str) -> dict[str, Option]:
    """How many neurons `layers` have before the maximum, `width` unless asked otherwise, and how many a unit has."""
    return {
        "k": Option(4, 1, 16, "neurons of a maxout unit; 1: no maximum"),
        "width": Option(width, LEAST, MOST, f"neurons of {layers} before the maximum, a multiple of k"),
    }


def count(width: int, k: int) -> int:
    """How many units of k neurons there are; k = 0, a layer without units, leaves each neuron its own.

    Raises SpecError where k does not divide the width.
    """
    if k and width % k:
        near = [str(n) for n in (width // k * k, width // k * k + k) if LEAST <= n <= MOST]
        are = "are" if len(near) > 1 else "is"
        raise SpecError(f"width {width} is no multiple of k = {k}; {' and '.join(near)} {are}")
    return width // (k or 1)


def maximum(k: int) -> nn.Module:
    """The maximum of each unit; with one neuron a unit there is none to take."""
    return Maxout(k) if k > 1 else nn.Identity()
