"""What surgery is measured against: the full network with the activations of the pruned neurons held at zero."""

import copy
import random
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from trimcore.graph.channel_graph import ChannelGraph, Part
from trimcore.graph.nodes import part_name
from trimcore.graph.removal import removed_groups
from trimcore.graph.tracing import trace
from trimcore.surgery.cut import prune

ROUNDING = 1e-11  # of float64, through many layers, relative to the largest output


def randomised(model: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The model in evaluation mode, with norms and biases that are nowhere 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    model = model.to(dtype).eval()

    def fill(tensor: Tensor | None, low: float, high: float) -> None:
        if tensor is not None:
            tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * (high - low) + low)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm):
                fill(module.weight, 0.5, 1.5)
                fill(module.bias, -0.4, 0.6)
            if isinstance(module, nn.modules.batchnorm._NormBase):
                fill(module.running_mean, -0.3, 0.3)
                fill(module.running_var, 0.5, 1.5)
            elif isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                fill(module.bias, -0.2, 0.3)
    return model


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def masked(graph: ChannelGraph, plan, within: tuple[str, ...] = ()) -> fx.GraphModule:
    """The traced network with a multiplication behind each counting site and each exit of a layer or norm: 0 for what
    the plan removes and what is held there, else 1."""
    gone = removed_groups(graph, plan, within)
    traced = copy.deepcopy(graph.graph)
    nodes = {node.name: node for node in traced.nodes}
    behind = graph.fine.held_behind
    sites, exits = graph.fine.sites, graph.fine.exits
    for site, held_here in [(site, gone & behind) for site in sites] + [(exit, gone & ~behind) for exit in exits]:
        node = nodes[site.node]
        mask = (~held_here[site.groups]).double()
        with traced.inserting_after(node):
            held = traced.call_function(hold, (node, mask.tolist(), site.axis))
        node.replace_all_uses_with(held, lambda user, held=held: user is not held)
    modules = {node.name: graph.fine.parts[part_name(node)].module for node in graph.graph.nodes
               if node.name in {norm.node for norm in graph.fine.joint_norms}}  # fmt: skip
    for norm in graph.fine.joint_norms:
        node, left_out = nodes[norm.node], gone[norm.groups]
        if left_out.any():
            rest = Rest(modules[norm.node], ~left_out, norm.axis)
            node.op, node.target, node.args, node.kwargs = "call_function", rest.normalised, (node.args[0],), {}
    parts = [p for p in graph.fine.parts.values() if p.kind == "recurrent" and gone[p.outputs].any()]
    return fx.GraphModule(graph.held | {part.name: with_dead_units(part, gone) for part in parts}, traced)


class Rest(NamedTuple):
    """A norm by its definition, with mean and variance over the channels that stay. A GroupNorm has one group."""

    norm: nn.Module
    stays: Tensor
    axis: int

    def normalised(self, x: Tensor) -> Tensor:
        norm, shape = self.norm, [1] * x.dim()
        shape[self.axis] = -1
        axes = list(range(1, x.dim())) if isinstance(norm, nn.GroupNorm) else [self.axis]
        mask = self.stays.to(x.dtype).view(shape).expand_as(x)
        count, eps = mask.sum(axes, keepdim=True), torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
        mean = 0 if isinstance(norm, nn.RMSNorm) else (x * mask).sum(axes, keepdim=True) / count
        variance = (((x - mean) * mask) ** 2).sum(axes, keepdim=True) / count
        y = (x - mean) / (variance + eps).sqrt()
        for name, combine in (("weight", torch.mul), ("bias", torch.add)):
            if getattr(norm, name, None) is not None:
                y = combine(y, getattr(norm, name).view(shape))
        return y * mask


def with_dead_units(part: Part, gone: Tensor) -> nn.RNNBase:
    """A copy of a recurrent layer in which the rows of the units that go are zero in every gate, so that these units
    are zero at every step."""
    layer = copy.deepcopy(part.module)
    with torch.no_grad():
        for tensor in layer.parameters():
            rows = gone[part.outputs].repeat(len(tensor) // len(part.outputs))
            tensor[rows] = 0
    return layer


def hold(x: Tensor, mask: list[float], axis: int) -> Tensor:
    view = [1] * x.dim()
    view[axis] = -1
    return x * torch.tensor(mask, dtype=x.dtype, device=x.device).view(view)


def random_plan(graph: ChannelGraph, ratio: float, seed: int, layers: list[str] | None = None) -> dict[str, list[int]]:
    """About `ratio` of the candidates of each layer, at least one of them, and never a whole layer."""
    choice = random.Random(seed)
    plan = {}
    for name in layers or graph.trimmable():
        candidates = graph.candidates(name)
        most = min(len(candidates), graph.layers[name].width - 1)
        members: dict[int, list[int]] = {}  # those that only go together
        for neuron in candidates:
            members.setdefault(int(graph.layers[name].neurons[neuron]), []).append(neuron)
        wanted, chosen = max(min(1, most), int(ratio * most)), []
        for group in choice.sample(list(members.values()), len(members)):
            if len(chosen) + len(group) <= (wanted if chosen else most):
                chosen += group
        plan[name] = sorted(chosen)
    return plan


def gap(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest value. Not a number counts as infinitely far."""
    a, b = a.detach(), b.detach()
    difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-300))
    return difference if difference == difference else float("inf")


def check(
    model: nn.Module, plan, x: Tensor, graph: ChannelGraph | None = None, within: tuple[str, ...] = ()
) -> nn.Module:
    """The pruned network, after comparing it with the masked one; the plan must matter, or the test could not fail."""
    graph = graph or trace(model, x)
    small = prune(model, plan, graph=graph, within=within)
    with torch.no_grad():
        full, held, cut = model(x), masked(graph, plan, within)(x), small(x)
    assert gap(cut, held) < ROUNDING
    assert gap(held, full) > 100 * ROUNDING, "the plan removes only neurons that do not matter"
    for module in small.modules():
        check_numbers(module)
    return small


def check_numbers(module: nn.Module) -> None:
    """The numbers beside a module's weights are whole, and say what its weights are."""
    match module:
        case nn.Linear():
            told, weights = (module.out_features, module.in_features), module.weight
        case nn.modules.conv._ConvNd():
            first, second = module.out_channels, module.in_channels
            first, second = (second, first) if module.transposed else (first, second)
            assert first % module.groups == second % module.groups == 0
            told, weights = (first, second // module.groups), module.weight
        case nn.modules.batchnorm._NormBase() if module.weight is not None or module.running_mean is not None:
            weights = module.running_mean if module.weight is None else module.weight
            told = (module.num_features,)
        case nn.GroupNorm() if module.weight is not None:
            assert module.num_channels % module.num_groups == 0
            told, weights = (module.num_channels,), module.weight
        case _:
            return
    assert weights.shape[: len(told)] == told
    assert {type(number) for number in told} == {int}
