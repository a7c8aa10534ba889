"""What counts as a zero. ReLU-like activations have true zeros; GELU, SiLU, LeakyReLU and the like only come near."""

from collections.abc import Sequence

# The share of the root mean square of a site's activations up to which an activation without true zeros counts as
# zero. With 0.1, an activation that counts carries less than a hundredth of the mean power of its site.
DEFAULT_TOLERANCE = 0.1


def counted_as_zero(tolerance: float = 0.0, limits: Sequence[float] = ()) -> str:
    """In words, what counted as zero in a layer: `tolerance` and absolute `limits` as a `LayerProfile` has them.

    >>> counted_as_zero(0.1, [0.0312, 0.4])
    '|activation| ≤ 0.1 × RMS (0.0312, 0.4)'
    >>> counted_as_zero()
    'exact zeros'
    """
    if not tolerance:
        return "exact zeros"
    shown = [f"{limit:.3g}" for limit in limits]
    several = f"{min(limits):.3g} to {max(limits):.3g} at its {len(limits)} activations" if len(shown) > 3 else ""
    return f"|activation| ≤ {tolerance:g} × RMS ({several or ', '.join(shown)})"


def measure_name(tolerance: float = 0.0) -> str:
    """How the APoZ of a layer is called: "APoZ", or "APoZ (near zero)" when near zeros were counted."""
    return "APoZ (near zero)" if tolerance else "APoZ"
