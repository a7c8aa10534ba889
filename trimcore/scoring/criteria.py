"""Scores that rank neurons: APoZ and other criteria to compare it with. A higher score means more redundant."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from trimcore.compute.seeds import derive_seed
from trimcore.errors import SpecError
from trimcore.graph.channel_graph import WITHOUT_NEURONS, ChannelGraph, Roles
from trimcore.scoring.apoz import Profile
from trimcore.scoring.relevance import UnitRelevance
from trimcore.spec import IN_UNITS

CRITERIA = ("apoz", "l1", "l2", "mean-activation", "taylor", "random")  # they rank the neurons of a layer


def scores(criterion: str, profile: Profile, graph: ChannelGraph, seed: int = 0) -> dict[str, Tensor]:
    """The score of each neuron of each profiled layer, float64 (width,).

    - apoz: the APoZ.
    - l1, l2: minus the norm of the incoming weights (Li et al. 2017, arXiv 1608.08710), over all convolution and linear
      layers that write the neuron's channel group.
    - mean-activation: minus the mean activation. The profile must include it.
    - taylor: minus the first-order change of the loss without the neuron (see `scoring.taylor`). The profile must
      include it.
    - random: uniform, derived from `seed` and the layer's name.

    Raises SpecError for an unknown criterion and for one that the profile does not include.
    """
    if criterion not in CRITERIA:
        raise SpecError(f"unknown criterion {criterion!r}; expected one of {', '.join(CRITERIA)}")
    if criterion in ("l1", "l2"):
        norms = _norms(graph, int(criterion[1]))
        return {name: -norms[graph.layers[name].neurons] for name in profile.layers}
    return {name: _score(criterion, name, profile, seed) for name in profile.layers}


def scores_in_units(
    criterion: str, units: Mapping[str, UnitRelevance], graph: ChannelGraph, seed: int = 0
) -> dict[str, Tensor]:
    """The score of each single neuron in layers with maxout units, float64 (width,).

    - relevance: minus how often the neuron is the maximum of its unit.
    - l1, l2: minus the norm of the neuron's incoming weights.
    - random: as in `scores`.

    Raises SpecError for any other criterion.
    """
    if criterion not in IN_UNITS:
        known = ", ".join(IN_UNITS)
        raise SpecError(f"criterion {criterion!r} cannot rank within maxout units; expected one of {known}")
    if criterion == "relevance":
        return {name: -found.relevance.flatten() for name, found in units.items()}
    if criterion == "random":
        return {name: _random(found.counts.numel(), name, seed) for name, found in units.items()}
    norms = _norms(graph.fine, int(criterion[1]))
    return {name: -norms[graph.fine.layers[name].neurons] for name in units}


def _random(width: int, layer: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, layer))
    return torch.rand(width, generator=generator, dtype=torch.float64)


def _score(criterion: str, layer: str, profile: Profile, seed: int) -> Tensor:
    found = profile[layer]
    if criterion == "apoz":
        return found.apoz
    if criterion == "random":
        return _random(found.width, layer, seed)
    attribute = criterion.replace("-", "_")
    measured: Tensor | None = getattr(found, attribute)
    if measured is None:
        raise SpecError(f"criterion {criterion!r} needs a profile made with {attribute}=True")
    return -measured


def _norms(graph: ChannelGraph, power: int) -> Tensor:
    """The norm of the incoming weights of each channel group: (sum of |w|^power)^(1/power). (group_count,)"""
    sums = torch.zeros(graph.group_count, dtype=torch.float64)
    for part in graph.parts.values():
        for tensor, roles in part.weights if part.kind not in WITHOUT_NEURONS else []:
            axis = _output_axis(roles)
            weight = tensor.detach().cpu().double().abs().pow(power)
            each = weight.sum([d for d in range(weight.dim()) if d != axis])
            sums.index_add_(0, part.groups[cast(str, roles[axis])], each)
    return sums.pow(1 / power)


def _output_axis(roles: Roles) -> int:
    """The output axis of a weight. A transposed convolution that is cut in whole groups has none; there, the inputs and
    outputs of a convolution group form one channel group, so the first axis serves."""
    return next((axis for axis, role in enumerate(roles) if role and role.startswith("out")), 0)
