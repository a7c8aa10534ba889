"""How far to go: the point after which each further step costs more than the one before."""

import math
from collections.abc import Sequence

from trimcore.tables import Metric


def knee(times: Sequence[float], values: Sequence[float], metric: Metric) -> int:
    """The index of the knee of a curve: the point that lies farthest above the line from its start to its end (Satopaa
    et al. 2011, "Finding a kneedle in a haystack"), over the logarithm of the factor. The first of equals.

    times: factors such as 1, 2, 4, in ascending order. values: the metric at each. Raises ValueError if they are not
    equally many, or fewer than two.

    >>> knee([1, 2, 4, 8], [0.98, 0.97, 0.95, 0.20], Metric())
    2
    """
    if len(times) != len(values) or len(times) < 2:
        raise ValueError(f"a knee needs two points or more, not {len(times)} factors and {len(values)} values")
    along = [math.log(one / times[0]) / math.log(times[-1] / times[0]) for one in times]
    lost = [metric.loss(values[0], value) for value in values]
    span = max(lost) - min(lost) or 1.0
    heights = [x - loss / span for x, loss in zip(along, lost, strict=True)]
    return max(range(len(heights)), key=lambda i: (round(heights[i], 9), -i))
