"""Options and maxout units for networks with units after their hidden linear layers."""

from torch import nn

from trimcore.errors import SpecError
from trimcore.layers.maxout import Maxout
from trimcore.models.architecture import Option

MIN_WIDTH, MAX_WIDTH = 4, 16_384  # neurons of a layer


def options(width: int, layers: str) -> dict[str, Option]:
    """The options k, neurons per unit, and width, neurons of `layers` before the maximum, by default `width`."""
    return {
        "k": Option(4, 1, 16, "neurons per maxout unit; 1: no maximum"),
        "width": Option(width, MIN_WIDTH, MAX_WIDTH, f"neurons in {layers} before the maximum, a multiple of k"),
    }


def count(width: int, k: int) -> int:
    """The number of units of k neurons. With k = 0 the layer has no units, and the result is its width.

    Raises SpecError if k does not divide the width.
    """
    if k and width % k:
        near = [str(n) for n in (width // k * k, width // k * k + k) if MIN_WIDTH <= n <= MAX_WIDTH]
        are = "are" if len(near) > 1 else "is"
        raise SpecError(f"width {width} is not a multiple of k = {k}; {' and '.join(near)} {are}")
    return width // (k or 1)


def maximum(k: int) -> nn.Module:
    """A Maxout module, or an identity for units of one neuron."""
    return Maxout(k) if k > 1 else nn.Identity()
