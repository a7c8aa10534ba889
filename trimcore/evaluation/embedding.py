"""Image embeddings: the input of a network's last layer."""

import copy
from collections.abc import Generator
from dataclasses import replace

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from trimcore.compute.generators import finished
from trimcore.compute.layout import is_channels_last
from trimcore.compute.modes import in_mode
from trimcore.data.batches import Batches
from trimcore.data.dataset import Data
from trimcore.data.pairs import PairSet
from trimcore.data.splits import Folder
from trimcore.errors import DataError, TrimError
from trimcore.evaluation.accuracy import EVALUATION_BATCH
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.nodes import target


def embed(graph: ChannelGraph, pairs: PairSet, data: Data, device: torch.device | str) -> Tensor:
    """The embeddings (U, D), float32 on the CPU, of the U images of `pairs`, in their order.

    Raises DataError for an unreadable image; the message names the file.
    """
    return finished(embedding(graph, pairs, data, device))


def embedding(
    graph: ChannelGraph, pairs: PairSet, data: Data, device: torch.device | str
) -> Generator[int, None, Tensor]:
    """`embed` as a generator that yields the number of images so far, in evaluation mode and float32. Between batches,
    the network's own mode is restored."""
    network, _ = embedder(graph)
    count, done = len(pairs.images), 0
    numbered = replace(pairs.images, labels=torch.arange(count))  # the labels say which images a batch has
    batches = Batches(numbered, data, EVALUATION_BATCH, device, channels_last=is_channels_last(graph.model))
    found, seen = torch.empty(0), torch.zeros(count, dtype=torch.bool)
    for x, which in batches:
        with in_mode(graph.model, training=False), torch.inference_mode():
            vectors, which = network(x).float().cpu(), which.cpu()
        found = found if done else torch.empty(count, vectors.shape[1])
        found[which], seen[which] = vectors, True
        done += len(which)
        yield done
    if isinstance(numbered, Folder) and done < count:
        raise DataError(f"pairs {pairs.name!r}: {numbered.files[int((~seen).nonzero()[0])]} is not a readable image")
    return found


def embedder(graph: ChannelGraph) -> tuple[fx.GraphModule, str]:
    """The network up to its penultimate layer, (N, ...) -> (N, D), and the name of the last layer, which is left out.

    The last layer is the last linear layer or convolution before the (first) output. Its input is the embedding;
    feature maps are averaged over their positions. All modules are shared with the original, which is unchanged. Raises
    TrimError unless there is exactly one such layer.
    """
    modules = dict(graph.model.named_modules())
    traced = copy.deepcopy(graph.graph)
    *nodes, output = traced.nodes
    found = sorted(_last_layers(output, modules), key=lambda node: node.name)
    if len(found) != 1:
        names = " and ".join(target(node) for node in found) or "no linear layer or convolution"
        reason = f"its output comes from {names}, not from a single last layer"
        raise TrimError(f"this {type(graph.model).__name__} has no penultimate layer to verify with: {reason}")
    (last,) = found
    with traced.inserting_before(last):
        positions = (1, 2) if isinstance(modules[target(last)], nn.Linear) else (2, 3)
        vectors = traced.call_function(_vectors, (last.all_input_nodes[0], positions))
    output.args = (vectors,)
    for node in reversed(nodes[nodes.index(last) :]):
        traced.erase_node(node)
    return fx.GraphModule(graph.held, traced), target(last)


def _last_layers(output: fx.Node, modules: dict[str, nn.Module]) -> set[fx.Node]:
    """The linear layers and convolutions with no other such layer before the output. Uses of a shape do not count."""
    result = output.args[0]
    while isinstance(result, tuple | list) and result:
        result = result[0]
    found, seen, front = set(), set(), [result] if isinstance(result, fx.Node) else []
    while front:
        node = front.pop()
        if node in seen or node.target == "size" or node.target is getattr:
            continue
        seen.add(node)
        if node.op == "call_module" and isinstance(modules[target(node)], nn.Linear | _ConvNd):
            found.add(node)
        else:
            front += node.all_input_nodes
    return found


def _vectors(x: Tensor, positions: tuple[int, int]) -> Tensor:
    """(N, ...) -> (N, D). Feature maps are averaged over their positions, the axes in `positions`."""
    return x.mean(positions) if x.dim() == 4 else x.flatten(1)
