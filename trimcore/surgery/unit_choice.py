"""Choose the neurons of each maxout unit, and refit the weights of the next layer.

The next layer receives the maximum of k activations a_i instead of each of them. Let w_i be its weights for neuron i, E
the mean over examples, and q_i = E[a_i^2]. Two neurons can share a unit at low cost in two cases:

- They are never active together. The maximum is then their sum, and using one weight instead of two costs q_i q_j /
  (q_i + q_j) |w_i - w_j|^2 (Ward 1963).
- Their activations are proportional. The larger one then stands for both, and nothing is lost.

Between these cases, the cost is the first one times 1 - r^2, with r^2 = E[a_i a_j]^2 / (q_i q_j). Units are chosen to
make the sum of this cost over their pairs small. Then least squares finds the weights of the next layer that change its
outputs least.
"""

import torch
from torch import Tensor

from trimcore.layers.maxout import in_units

SWEEPS = 50  # of swaps between units; ten are enough for most layers
RIDGE = 1e-2  # as a fraction of the mean variance of a unit; regularises weights that few examples do not determine


def costs(gram: Tensor, weight: Tensor) -> Tensor:
    """The cost of putting two neurons into one unit (see above), up to a factor. Symmetric, (n, n).

    `gram` (n, n) is the sum of a a^T over examples, `weight` (m, n) is the weight of the next layer.
    """
    energy, inner = gram.diag(), weight.T @ weight
    distance = (inner.diag()[:, None] + inner.diag() - 2 * inner).clamp(min=0)
    exclusive = (energy[:, None] * energy - gram.square()).clamp(min=0)
    cost = exclusive / (energy[:, None] + energy).clamp(min=torch.finfo(energy.dtype).tiny) * distance
    return (cost + cost.T) / 2


def units(cost: Tensor, energy: Tensor, k: int) -> Tensor:
    """Units of k neurons with low pairwise costs. (n / k, k)

    A greedy assignment is improved by swaps. `energy` (n,) is E[a^2] of each neuron up to a factor. Neurons are in
    ascending order within their unit, and units are ordered by their first neuron.
    """
    count, indices = len(cost) // k, torch.arange(len(cost))
    unit = _greedy_units(cost, energy, k)
    cost = cost.clone().fill_diagonal_(0)
    to_unit = torch.zeros(len(cost), count, dtype=cost.dtype).index_add_(1, unit, cost)  # cost of neuron i in unit u
    threshold = -1e-9 * cost.mean()  # smaller gains are rounding errors
    for _ in range(SWEEPS):
        swapped = False
        for i in range(len(cost)):
            current = to_unit[indices, unit]
            gain = to_unit[i, unit] + to_unit[:, unit[i]] - current[i] - current - 2 * cost[i]
            gain[unit == unit[i]] = 0
            j = int(gain.argmin())
            if gain[j] < threshold:
                own, other = int(unit[i]), int(unit[j])
                to_unit[:, own] += cost[j] - cost[i]
                to_unit[:, other] += cost[i] - cost[j]
                unit[i], unit[j], swapped = other, own, True
        if not swapped:
            break
    found = unit.argsort(stable=True).view(count, k)
    return found[found[:, 0].argsort()]


def _greedy_units(cost: Tensor, energy: Tensor, k: int) -> Tensor:
    """The unit of each neuron. Repeatedly, the free neuron with the highest energy takes the k - 1 cheapest. (n,)"""
    unit, count = torch.full((len(cost),), -1), 0
    for i in energy.argsort(descending=True, stable=True).tolist():
        if unit[i] < 0:
            unit[i] = count
            unit[cost[i].masked_fill(unit >= 0, torch.inf).argsort(stable=True)[: k - 1]] = count
            count += 1
    return unit


def products(a: Tensor, k: int) -> Tensor:
    """The sum of (u, 1)^T (u, a, 1) over a batch, where u are the maxima of units of k. (n / k + 1, n / k + n + 1)"""
    u, one = in_units(a, k).amax(2), a.new_ones(len(a), 1)
    return torch.cat([u, one], 1).T @ torch.cat([u, a, one], 1)


def refit(weight: Tensor, bias: Tensor | None, moments: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor | None]:
    """The weights (m, n / k) and bias for the units' maxima u that approximate W a + b best in the least-squares sense.

    `moments` is the sum of `products` over all batches, float64. First, each unit gets the best weight for its own
    neurons. Then all weights are fitted jointly, with a ridge penalty on the difference from these. Without a bias, the
    fit has none.
    """
    moments = moments / moments[-1, -1]
    count, n = len(moments) - 1, weight.shape[1]
    (uu, ua), (mean_u, mean_a) = (torch.split(m, [count, n], -1) for m in (moments[:-1, :-1], moments[-1, :-1]))
    own = torch.unflatten(ua, 1, (count, -1)).diagonal().T  # (n / k, k): E[u a_i] for the neurons of the unit
    start = (torch.unflatten(weight, 1, (count, -1)) * own).sum(2) / uu.diag().clamp(min=torch.finfo(uu.dtype).tiny)
    if bias is not None:
        uu, ua = uu - mean_u[:, None] * mean_u, ua - mean_u[:, None] * mean_a
    penalty = uu.diag().mean() * ridge + torch.finfo(uu.dtype).tiny
    residual = ua @ weight.T - uu @ start.T
    fitted = start + torch.linalg.solve(uu + penalty * torch.eye(count).to(uu), residual).T
    return fitted, None if bias is None else bias + weight @ mean_a - fitted @ mean_u
