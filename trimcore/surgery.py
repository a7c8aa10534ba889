"""Cutting neurons out of a network, so that what is left is physically smaller.

The guarantee: the result computes what the original computes with the activations of the removed neurons held at zero.
"""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from trimcore.errors import NotTrimmable
from trimcore.graph import ChannelGraph, Part
from trimcore.tracing import trace

Cut = Mapping[str, Iterable[int]]  # layer -> the neurons that go


def prune(model: nn.Module, plan: Cut, example_input=None, *, graph: ChannelGraph | None = None) -> nn.Module:
    """A smaller copy of `model` without the planned neurons; `model` itself is left as it was.

    `plan` is a `Plan` or a mapping layer -> neurons that go. Give `example_input` (a batch, for its shape) or the
    `graph` that `trace` made of this very model. Weights, buffers, modes, `requires_grad`, dtype, device and memory
    format are kept; gradients are not. Raises NotTrimmable for a layer that cannot be cut, an index out of range, or a
    plan that would leave a layer empty.

    >>> from trimcore import build
    >>> small = prune(build("lenet5"), {"conv2": [3, 17]}, torch.zeros(1, 1, 28, 28))
    >>> small.conv2.out_channels, small.fc1.in_features
    (48, 768)
    """
    if graph is None:
        if example_input is None:
            raise NotTrimmable("prune needs an example_input: a batch of the shape that the network takes")
        graph = trace(model, example_input)
    elif graph.model is not model:
        raise NotTrimmable("the graph was traced from another network than the one to prune")
    gone = removed_groups(graph, plan)
    memo: dict[int, object] = {}  # what `deepcopy` puts in place of a tensor: no weight that goes is ever copied
    keep_alive = []
    sizes: dict[str, tuple[Part, int, int | None]] = {}
    for part in graph.parts.values():
        outputs, inputs = kept_positions(part, gone)
        sizes[part.name] = (part, len(outputs), None if inputs is None else len(inputs))
        if len(outputs) == len(part.outputs) and (inputs is None or len(inputs) == len(part.inputs)):
            continue
        for name, tensor in (*part.module.named_parameters(recurse=False), *part.module.named_buffers(recurse=False)):
            if tensor.dim():  # BatchNorm's num_batches_tracked has no axis
                memo[id(tensor)] = _sliced(tensor, outputs, inputs if name == "weight" else None)
                keep_alive.append(tensor)
    small = copy.deepcopy(model, memo)
    modules = dict(small.named_modules())
    for name, (part, outputs, inputs) in sizes.items():
        set_widths(modules[name], part.kind, outputs, inputs)
    return small


def removed_groups(graph: ChannelGraph, plan: Cut) -> Tensor:
    """Mask over channel groups: True for those that the plan removes. (group_count,)

    Raises NotTrimmable as `prune` does.
    """
    gone = torch.zeros(graph.group_count, dtype=torch.bool)
    for name, neurons in plan.items():
        layer = graph.layer(name)
        allowed = set(graph.candidates(name))
        for neuron in neurons:
            if not 0 <= neuron < layer.width:
                raise NotTrimmable(f"layer {name!r} has neurons 0 to {layer.width - 1}, there is no {neuron}")
            group = int(layer.neurons[neuron])
            if neuron not in allowed:
                why = graph.frozen.get(group, "it reaches no activation")
                raise NotTrimmable(f"neuron {neuron} of layer {name!r} cannot be removed: {why}")
            gone[group] = True
    for layer in graph.layers.values():
        if bool(gone[layer.neurons].all()):
            raise NotTrimmable(f"the plan would remove every neuron of layer {layer.name!r}; at least one has to stay")
    return gone


def kept_positions(part: Part, gone: Tensor) -> tuple[Tensor, Tensor | None]:
    """Indices that stay along weight axes 0 and 1 (None where axis 1 is not cut)."""
    outputs = (~gone[part.outputs]).nonzero().flatten()
    return outputs, None if part.inputs is None else (~gone[part.inputs]).nonzero().flatten()


def kept_neurons(graph: ChannelGraph, plan: Cut) -> dict[str, list[int]]:
    """For each layer, tied ones included, the indices of the neurons that stay."""
    gone = removed_groups(graph, plan)
    return {name: (~gone[layer.neurons]).nonzero().flatten().tolist() for name, layer in graph.layers.items()}


def set_widths(module: nn.Module, kind: str, outputs: int, inputs: int | None) -> None:
    """Bring the numbers that a module keeps beside its weights in line with them."""
    if kind == "norm":
        module.num_features = outputs
    elif kind == "linear":
        module.out_features, module.in_features = outputs, inputs
    elif kind == "depthwise":
        module.in_channels = module.groups = outputs // (module.out_channels // module.in_channels)
        module.out_channels = outputs
    elif kind == "conv":
        module.out_channels, module.in_channels = outputs, inputs


def _sliced(tensor: Tensor, outputs: Tensor, inputs: Tensor | None) -> Tensor:
    data = tensor.detach().index_select(0, outputs.to(tensor.device))
    if inputs is not None:
        data = data.index_select(1, inputs.to(tensor.device))
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous():
        data = data.contiguous(memory_format=torch.channels_last)
    return nn.Parameter(data, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else data
