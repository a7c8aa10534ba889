"""Every registered architecture with weights that come quickly, at a size that a CPU can carry."""

import random

import torch
from torch import Tensor, nn

from tests.trimcore.oracle import gap, images, masked, random_plan, randomised
from trimcore import models
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.surgery.cut import prune

SMALLEST = 32  # pixels
LARGE = 500_000_000  # parameters beyond which float32 has to do
BLOCK = 1 << 20  # weights that are drawn; larger tensors repeat them


def image_size(name: str) -> int:
    """The smallest that shows what there is to see: vision transformers get two patches by two."""
    entry = models.architecture(name)
    if entry.multiple > 1:
        return entry.min_size if entry.min_size > 100 else 2 * entry.multiple
    return max(SMALLEST, entry.min_size)


def filled(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """The architecture with random weights in evaluation mode, and an input for it, two images. Through hundreds of
    layers rounding errors grow a millionfold, so it is float64 where there is memory for it."""
    arguments = {"num_classes": 10, "in_channels": models.architecture(name).channels or 1}
    network = models.empty(name, **arguments, image_size=image_size(name))
    dtype = torch.float32 if sum(p.numel() for p in network.parameters()) > LARGE else torch.float64
    generator = torch.Generator().manual_seed(seed)
    block = torch.rand(BLOCK, generator=generator, dtype=dtype) * 2 - 1
    for module in network.modules():
        for held in (module._parameters, module._buffers):
            for key, tensor in held.items():
                if tensor is not None and tensor.is_meta:
                    held[key] = _drawn(tensor, block)
    network = randomised(network, seed, dtype)
    return network, images(2, arguments["in_channels"], image_size(name), image_size(name), seed=seed, dtype=dtype)


def _drawn(tensor: Tensor, block: Tensor) -> Tensor:
    """Uniform values of a size that keeps activations of layer after layer about as large as they were."""
    if not tensor.is_floating_point():
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    inputs = max(1, tensor[0].numel()) if tensor.dim() > 1 else 4
    flat = torch.empty(tensor.numel(), dtype=block.dtype)
    for piece in flat.split(BLOCK):
        piece.copy_(block[: len(piece)])
    shaped = flat.mul_((6 / inputs) ** 0.5).view(tensor.shape)
    return nn.Parameter(shaped) if isinstance(tensor, nn.Parameter) else shaped


def differences(graph: ChannelGraph, x: Tensor, ratio: float, seed: int) -> tuple[float, float]:
    """How far the pruned network is from the masked one, and the masked one from the full, relative to the output.
    Layers with maxout units lose neurons from within them."""
    plan, choice = random_plan(graph, ratio, seed), random.Random(seed)
    for name, units in graph.units.items():
        rows = range(0, graph.layers[name].width, units.k)
        plan[name] = sorted(i for row in rows for i in choice.sample(range(row, row + units.k), units.k // 2))
    with torch.inference_mode():
        held = masked(graph, plan, tuple(graph.units))(x)
        cut = prune(graph.model, plan, graph=graph, within=graph.units)(x)
        return gap(cut, held), gap(held, graph.model(x))


