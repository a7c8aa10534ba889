"""Scores by which neurons are ranked: a higher score means more redundant. APoZ, and the controls to set it against."""

import torch
from torch import Tensor

from trimcore.apoz import Profile
from trimcore.errors import SpecError
from trimcore.graph import ChannelGraph
from trimcore.seeds import derive_seed

CRITERIA = ("apoz", "l1", "mean-activation", "random")


def scores(criterion: str, profile: Profile, graph: ChannelGraph, seed: int = 0) -> dict[str, Tensor]:
    """For each profiled layer the score of each neuron, float64 (width,).

    apoz: the APoZ itself. l1: minus the sum of absolute incoming weights (Li et al. 2017). mean-activation: minus the
    mean of its activation (the profile must have it). random: uniform, from `seed` and the layer's name.
    """
    if criterion not in CRITERIA:
        raise SpecError(f"unknown criterion {criterion!r}; there are {', '.join(CRITERIA)}")
    return {name: _score(criterion, name, profile, graph, seed) for name in profile.layers}


def _score(criterion: str, layer: str, profile: Profile, graph: ChannelGraph, seed: int) -> Tensor:
    found = profile[layer]
    if criterion == "apoz":
        return found.apoz
    if criterion == "l1":
        return -graph.parts[layer].module.weight.detach().double().abs().flatten(1).sum(1).cpu()
    if criterion == "mean-activation":
        if found.mean_activation is None:
            raise SpecError("the criterion mean-activation needs a profile made with mean_activation=True")
        return -found.mean_activation
    generator = torch.Generator().manual_seed(derive_seed(seed, layer))
    return torch.rand(found.width, generator=generator, dtype=torch.float64)
