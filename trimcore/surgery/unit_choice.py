"""Which neurons share a maxout unit, and the weights that then read the units.

The layer behind gets the maximum of k activations a_i in place of all. With w_i for its weights on neuron i, E for the
mean over examples and q_i = E[a_i^2], two neurons in one unit lose little in two cases:

- They are never active together. The maximum is then their sum, and one weight in place of two costs q_i q_j /
  (q_i + q_j) |w_i - w_j|^2 (Ward 1963).
- Their activations are proportional. The larger one then serves for both, and nothing is lost.

Between these the cost is taken as the first, times 1 - r^2 with r^2 = E[a_i a_j]^2 / (q_i q_j). Units are chosen for a
small sum of it over their pairs; then least squares gives the weights behind that change their outputs least.
"""

import torch
from torch import Tensor

from trimcore.layers.maxout import in_units

SWEEPS = 50  # of exchanges between units; ten are enough for most layers
RIDGE = 1e-2  # of the mean variance of a unit: holds weights that few examples do not determine


def costs(together: Tensor, weight: Tensor) -> Tensor:
    """What it costs to have two neurons in one unit (see above), but for a factor. Symmetric, (n, n).

    `together` (n, n) is the sum of a a^T over examples, `weight` (m, n) what the layer behind makes of them.
    """
    strength, inner = together.diag(), weight.T @ weight
    apart = (inner.diag()[:, None] + inner.diag() - 2 * inner).clamp(min=0)
    exclusive = (strength[:, None] * strength - together.square()).clamp(min=0)
    cost = exclusive / (strength[:, None] + strength).clamp(min=torch.finfo(strength.dtype).tiny) * apart
    return (cost + cost.T) / 2


def units(cost: Tensor, strength: Tensor, k: int) -> Tensor:
    """Units of k neurons whose pairs cost little: neighbours of the strongest, then exchanges that help. (n / k, k)

    Neurons ascend within their unit, and units by their first neuron.
    """
    count, everyone = len(cost) // k, torch.arange(len(cost))
    unit = _neighbours(cost, strength, k)
    cost = cost.clone().fill_diagonal_(0)
    into = torch.zeros(len(cost), count, dtype=cost.dtype).index_add_(1, unit, cost)  # of each neuron, with each unit
    least = -1e-9 * cost.mean()  # less is rounding
    for _ in range(SWEEPS):
        exchanged = False
        for i in range(len(cost)):
            here = into[everyone, unit]
            gain = into[i, unit] + into[:, unit[i]] - here[i] - here - 2 * cost[i]
            gain[unit == unit[i]] = 0
            j = int(gain.argmin())
            if gain[j] < least:
                mine, other = int(unit[i]), int(unit[j])
                into[:, mine] += cost[j] - cost[i]
                into[:, other] += cost[i] - cost[j]
                unit[i], unit[j], exchanged = other, mine, True
        if not exchanged:
            break
    found = unit.argsort(stable=True).view(count, k)
    return found[found[:, 0].argsort()]


def _neighbours(cost: Tensor, strength: Tensor, k: int) -> Tensor:
    """The unit of each neuron when the strongest one left takes the k - 1 that cost least, again and again. (n,)"""
    unit, count = torch.full((len(cost),), -1), 0
    for i in strength.argsort(descending=True, stable=True).tolist():
        if unit[i] < 0:
            unit[i] = count
            unit[cost[i].masked_fill(unit >= 0, torch.inf).argsort(stable=True)[: k - 1]] = count
            count += 1
    return unit


def products(a: Tensor, k: int) -> Tensor:
    """The sum of (u, 1)^T (u, a, 1) over a batch, u being the maxima of units of k. (n / k + 1, n / k + n + 1)"""
    u, one = in_units(a, k).amax(2), a.new_ones(len(a), 1)
    return torch.cat([u, one], 1).T @ torch.cat([u, a, one], 1)


def refit(weight: Tensor, bias: Tensor | None, moments: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor | None]:
    """The weights (m, n / k) and bias on the units' maxima u that differ least from W a + b, in the mean of squares.

    `moments` are the sums of `_products`, float64. Each unit's weight is first the best one for its own neurons, then
    all are fitted together, held to these by the ridge. Without a bias there is none in the fit.
    """
    moments = moments / moments[-1, -1]
    count, n = len(moments) - 1, weight.shape[1]
    (uu, ua), (mean_u, mean_a) = (torch.split(m, [count, n], -1) for m in (moments[:-1, :-1], moments[-1, :-1]))
    own = torch.unflatten(ua, 1, (count, -1)).diagonal().T  # (n / k, k): E[u a_i] for the neurons of the unit
    start = (torch.unflatten(weight, 1, (count, -1)) * own).sum(2) / uu.diag().clamp(min=torch.finfo(uu.dtype).tiny)
    if bias is not None:
        uu, ua = uu - mean_u[:, None] * mean_u, ua - mean_u[:, None] * mean_a
    held = uu.diag().mean() * ridge + torch.finfo(uu.dtype).tiny
    missing = ua @ weight.T - uu @ start.T
    fitted = start + torch.linalg.solve(uu + held * torch.eye(count).to(uu), missing).T
    return fitted, None if bias is None else bias + weight @ mean_a - fitted @ mean_u
