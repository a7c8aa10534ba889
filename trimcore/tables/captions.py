"""Captions for networks, cuts and counts, as shown in tables, charts and the terminal. Pure functions."""

from collections.abc import Mapping, Sequence

NAMED = 8  # most layers that a caption names; files name all of them
OF_MANY = 4  # layers that it names if there are more than NAMED


def widths_text(widths: Mapping[str, int]) -> str:
    """`conv1=20;conv2=41`"""
    return ";".join(f"{layer}={width}" for layer, width in widths.items())


def cuts_text(
    cuts: Mapping[str, int], before: Mapping[str, int] | None = None, after: Mapping[str, int] | None = None,
    heads: Mapping[str, int] | None = None,
) -> str:  # fmt: skip
    """Caption of a cut, with the neurons removed from each layer: `conv2 −11, fc1 −74`. If there are many layers, only
    those that lose most are named. `before` and `after` are the neurons per maxout unit, shown where they differ, and
    `heads` the attention heads that a layer loses.

    >>> cuts_text({"conv1": 0, "conv2": 11, "fc1": 125}, {"fc1": 4}, {"fc1": 3})
    'conv2 −11, fc1 −125 (k 4→3)'
    >>> cuts_text({"qkv": 96}, heads={"qkv": 1})
    'qkv −96 (1 head)'
    """
    cuts, before, after = {layer: count for layer, count in cuts.items() if count}, before or {}, after or {}
    heads = heads or {}
    most = _largest(cuts, len(cuts) if len(cuts) <= NAMED else OF_MANY)
    texts = [
        f"{layer} −{count:,}{_unit_change(before.get(layer), after.get(layer))}{heads_text(heads.get(layer, 0))}"
        for layer, count in cuts.items()
        if layer in most
    ]
    others = sum(count for layer, count in cuts.items() if layer not in most)
    return ", ".join(texts + ([f"{len(cuts) - len(most)} more −{others:,}"] if others else []))


def zeros_text(zeros: Mapping[str, int], weights: Mapping[str, int]) -> str:
    """Caption of a step that prunes weights: the share of zeros in the layers that it prunes.

    >>> zeros_text({"fc1": 70, "fc2": 1}, {"fc1": 90, "fc2": 10})
    'weights: 71 % zero'
    """
    share = sum(zeros.values()) / max(sum(weights[layer] for layer in zeros), 1)
    return f"weights: {share:.1%} zero".replace(".0%", "%").replace("%", " %")


def configurations(
    widths: Sequence[Mapping[str, int]],
    trimmable: Sequence[str] | None = None,
    units: Sequence[Mapping[str, int]] | None = None,
) -> list[str]:
    """Captions with the widths of each iteration, the first being the base: `conv1 20 · conv2 41`.

    If the network has many layers, only those that lose most are named; of the others it says how many have changed
    since the base. `trimmable` are the layers to count then (default: all): the rest are frozen or follow one of them.
    `units`: the neurons per unit of the maxout layers in each iteration; `fc1 375 (125 × 3)` is 125 units of 3.
    """
    if not widths:
        return []
    units = units or [{}] * len(widths)
    if len(widths[0]) <= NAMED:
        return [" · ".join(_width(n, row, k) for n in row) for row, k in zip(widths, units, strict=True)]
    base, last = {layer: widths[0][layer] for layer in trimmable or widths[0]}, widths[-1]
    lost = {layer: width - last[layer] for layer, width in base.items() if last[layer] < width}
    named = _largest(lost, len(lost) if len(lost) <= NAMED else OF_MANY)
    return [_configuration(base, row, named, k) for row, k in zip(widths, units, strict=True)]


def _configuration(base: Mapping[str, int], row: Mapping[str, int], named: set[str], units: Mapping[str, int]) -> str:
    others = [layer for layer in base if layer not in named]
    changed = sum(row[layer] != base[layer] for layer in others)
    parts = [_width(layer, row, units) for layer in base if layer in named]
    parts += [f"+{changed} trimmed"] if changed else []
    parts += [f"+{len(others) - changed} unchanged"] if changed < len(others) else []
    return " · ".join(parts)


def _width(layer: str, widths: Mapping[str, int], units: Mapping[str, int]) -> str:
    k = units.get(layer, 1)
    return f"{layer} {widths[layer]}" + (f" ({widths[layer] // k} × {k})" if k > 1 else "")


def heads_text(count: int) -> str:
    """The attention heads that a layer loses, behind its caption: ` (1 head)`, or nothing."""
    return f" ({count} head{'s' if count > 1 else ''})" if count else ""


def _unit_change(before: int | None, after: int | None) -> str:
    return f" (k {before}→{after})" if before and after and before != after else ""


def _largest(sizes: Mapping[str, int], count: int) -> set[str]:
    """The names of the `count` largest; ties go to the first."""
    return set(sorted(sizes, key=lambda name: -sizes[name])[:count])


def counted_as_zero(tolerance: float = 0.0, limits: Sequence[float] = ()) -> str:
    """What counted as zero in a layer, as text. `tolerance` and absolute `limits` are those of its `LayerProfile`.

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


def no_activation_text(layers: Sequence[str]) -> str:
    """What is said of layers that have no APoZ.

    >>> no_activation_text(["project"])
    'No activation follows 1 layer, so it has no APoZ and rules on APoZ skip it; other criteria rank it: project.'
    """
    named = ", ".join(layers[:6]) + (f" and {len(layers) - 6} more" if len(layers) > 6 else "")
    if len(layers) == 1:
        text = "No activation follows 1 layer, so it has no APoZ and rules on APoZ skip it; other criteria rank it"
        return f"{text}: {named}."
    return (
        f"No activation follows {len(layers)} layers, so they have no APoZ and rules on APoZ skip them; other criteria "
        f"rank them: {named}."
    )


def measure_name(tolerance: float = 0.0) -> str:
    """The name of the measure: "APoZ", or "APoZ (near zero)" if near zeros were counted."""
    return "APoZ (near zero)" if tolerance else "APoZ"
