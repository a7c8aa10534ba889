"""Ready-made orders in which to trim the layers, based on a profile. Pure functions of names and numbers."""

import math
from collections.abc import Callable, Mapping, Sequence

Order = list[list[str]]  # the layers of each step


def paper(layers: Sequence[str], mean_apoz: Mapping[str, float], saved: Mapping[str, int]) -> Order:
    """The paper's order: the two layers with the highest mean APoZ together, then the neighbours of the trimmed layers.

    >>> paper(["a", "b", "c", "d"], {"a": 0.1, "b": 0.2, "c": 0.9, "d": 0.8}, {})
    [['c', 'd'], ['b'], ['a']]
    """
    first = sorted(ranked_by_apoz(layers, mean_apoz)[:2], key=layers.index)
    order, done = [first], set(first)
    while len(done) < len(layers):
        places = [layers.index(name) for name in done]
        near = {place + side for place in places for side in (-1, 1)}
        ring = [name for index, name in enumerate(layers) if index in near and name not in done]
        order.append(ring)
        done.update(ring)
    return order


def ranked_by_apoz(layers: Sequence[str], mean_apoz: Mapping[str, float]) -> list[str]:
    """The layers with the highest mean APoZ first; layers without an activation, whose APoZ is not a number, last."""
    return sorted(layers, key=lambda name: (math.isnan(mean_apoz[name]), -mean_apoz[name]))


def by_apoz(layers: Sequence[str], mean_apoz: Mapping[str, float], saved: Mapping[str, int]) -> Order:
    """One layer per step, the highest mean APoZ first."""
    return [[name] for name in ranked_by_apoz(layers, mean_apoz)]


def by_saving(layers: Sequence[str], mean_apoz: Mapping[str, float], saved: Mapping[str, int]) -> Order:
    """One layer per step, the one that saves the most parameters first."""
    return [[name] for name in sorted(layers, key=lambda name: -saved[name])]


def output_to_input(layers: Sequence[str], mean_apoz: Mapping[str, float], saved: Mapping[str, int]) -> Order:
    """One layer per step, from the last to the first."""
    return [[name] for name in reversed(layers)]


def together(layers: Sequence[str], mean_apoz: Mapping[str, float], saved: Mapping[str, int]) -> Order:
    """All layers in one step."""
    return [list(layers)]


ORDERS: dict[str, Callable[[Sequence[str], Mapping[str, float], Mapping[str, int]], Order]] = {
    "the paper's order": paper,
    "by APoZ": by_apoz,
    "by parameters saved": by_saving,
    "output to input": output_to_input,
    "all at once": together,
}
