"""Widths that kernels like: what a plan leaves of a layer, rounded up to a multiple.

Matrix units work in blocks, and a width just beyond one may take as long as the next full one. Rounding up gives back
the neurons that the plan would miss least to cut, those with the lowest scores: they cost parameters, and perhaps no
time. Whether it pays is for a measurement to say; a smaller network is not always a faster one.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping


def rounded_up(
    going: Collection[int],
    groups: Mapping[int, int],
    multiple: int,
    score: Callable[[int], float],
    named: Collection[int] = (),
) -> list[int]:
    """The neurons of a layer that still go when its width is to be a multiple of `multiple`, or stays as it is where
    that would be more. Ascending.

    `groups` has the channel group of every neuron that the layer has now: those of one group come back together, if
    there is room for all. The lowest `score` comes back first, of equal ones the highest index; who was `named` to go
    does not.

    >>> rounded_up([0, 1, 2], dict(enumerate(range(10))), 4, score=lambda neuron: -neuron)
    [0, 1]
    """
    stays, left = len(groups) - len(going), set(going)
    room = min(len(groups), math.ceil(stays / multiple) * multiple) - stays
    members = defaultdict(set)
    for neuron in going:
        members[groups[neuron]].add(neuron)
    for neuron in sorted(going, key=lambda i: (score(i), -i)):
        own = members[groups[neuron]]
        if own <= left and len(own) <= room and own.isdisjoint(named):
            left, room = left - own, room - len(own)
        if not room:
            break
    return sorted(left)
