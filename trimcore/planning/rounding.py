"""Round the width that a plan leaves of a layer up to a hardware-friendly multiple.

Matrix units work in blocks, so a width just above a block boundary can take as long as the next full block. Rounding up
restores the removed neurons with the lowest scores, those that the plan has the least reason to cut. They cost
parameters but possibly no time. Measure whether it pays: a smaller network is not always faster.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping


def rounded_up(
    removed: Collection[int],
    groups: Mapping[int, int],
    multiple: int,
    score: Callable[[int], float],
    named: Collection[int] = (),
) -> list[int]:
    """The neurons of a layer that are still removed, ascending, after rounding its width up to a multiple of
    `multiple`, but not above the current width.

    `groups` is the channel group of every current neuron of the layer: neurons of a group are restored together, if all
    of them fit. The lowest `score` is restored first (on a tie, the highest index). Neurons in `named`, which the user
    chose to remove, are not restored.

    >>> rounded_up([0, 1, 2], dict(enumerate(range(10))), 4, score=lambda neuron: -neuron)
    [0, 1]
    """
    stays, left = len(groups) - len(removed), set(removed)
    room = min(len(groups), math.ceil(stays / multiple) * multiple) - stays
    members = defaultdict(set)
    for neuron in removed:
        members[groups[neuron]].add(neuron)
    for neuron in sorted(removed, key=lambda i: (score(i), -i)):
        own = members[groups[neuron]]
        if own <= left and len(own) <= room and own.isdisjoint(named):
            left, room = left - own, room - len(own)
        if not room:
            break
    return sorted(left)
