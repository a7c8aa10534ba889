"""Execute a plan with real surgery, iteration by iteration, without retraining. Pure functions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from trimcore.compute.seeds import derive_seed
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.removal import kept_neurons
from trimcore.planning.plan import Plan
from trimcore.planning.selection import choose_neurons, choose_weights
from trimcore.scoring.apoz import LayerProfile, Profile
from trimcore.scoring.relevance import UnitRelevance
from trimcore.spec import Step
from trimcore.surgery import magnitude
from trimcore.surgery.cut import cut


@dataclass(frozen=True)
class Measured:
    """The input of the rules: counted zeros, counted maxima, and each neuron's index in the base model, by layer."""

    seen: Profile
    units: Mapping[str, UnitRelevance]
    origins: Mapping[str, list[int]]


def carried_out(graph: ChannelGraph, steps: Sequence[Step], measured: Measured, seed: int) -> Iterator[ChannelGraph]:
    """Yield the network after each iteration of the plan that removes something. `graph` and its model are unchanged.

    The first iteration is exactly what a run would do. Later ones reuse the counts of the remaining neurons, as
    `preview` does, whereas a run would retrain and count again. Raises TrimError as a run would.
    """
    iteration = 0
    for step in steps:
        for round in range(1, step.iterations + 1):
            if step.weights:
                smaller = _sparser(graph, step, round)
                if smaller is None:
                    continue
                graph = smaller
            else:
                draw = derive_seed(seed, "random", iteration) % 2**32
                chosen = choose_neurons(step, graph, measured.seen, measured.units, measured.origins, draw)
                if not chosen.total:
                    break
                graph, measured = _smaller(graph, chosen, measured)
            iteration += 1
            yield graph


def _sparser(graph: ChannelGraph, step: Step, round: int) -> ChannelGraph | None:
    """A copy with the step's weights at zero; None if the layers are already that sparse."""
    masks, found = choose_weights(step, graph.model, round)
    if not any(layer.newly for layer in found.values()):
        return None
    copy = cut(graph, {})
    magnitude.hold(copy.model, masks)
    return copy


def _smaller(graph: ChannelGraph, chosen: Plan, measured: Measured) -> tuple[ChannelGraph, Measured]:
    kept, smaller = kept_neurons(graph, chosen), cut(graph, chosen)
    layers = {
        name: _profile_of(layer, smaller, kept[name])
        for name, layer in measured.seen.layers.items() if name in smaller.layers
    }  # fmt: skip
    units = {
        name: replace(measured.units[name], counts=measured.units[name].counts.flatten()[kept[name]].view(-1, own.k))
        for name, own in smaller.units.items() if name in measured.units
    }  # fmt: skip
    origins = {name: [own[i] for i in kept[name]] for name, own in measured.origins.items()}
    return smaller, Measured(replace(measured.seen, layers=layers), units, origins)


def _profile_of(layer: LayerProfile, graph: ChannelGraph, kept: list[int]) -> LayerProfile:
    """The profile of a layer reduced to its kept neurons, for the graph of the smaller network."""

    def of_kept(counts: Tensor | None) -> Tensor | None:
        return None if counts is None else counts[kept]

    return replace(
        layer, zeros=layer.zeros[kept], totals=layer.totals[kept], candidates=tuple(graph.candidates(layer.layer)),
        groups=graph.layers[layer.layer].neurons, mean_activation=of_kept(layer.mean_activation),
        taylor=of_kept(layer.taylor),
    )  # fmt: skip
