"""Layers whose weights are computed from stored tensors at each call, such as standardised or scaled weights.

What the computation does to rows and columns is found by trying it on random numbers, with all rows and with some of
them. If these come out the same, each row of the weight depends on the same row of the stored tensors alone, and a
neuron can be cut from them. The same holds for columns; where it does not (a filter's mean depends on all its inputs),
the layer keeps all its inputs, and channels that are removed before it must keep their places.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from trimcore.graph.meta import execute
from trimcore.graph.nodes import target

LAYERS = ("conv1d", "conv2d", "conv3d", "linear")
ROLES = {"out_channels": 0, "out_features": 0, "in_channels": 1, "in_features": 1}  # number -> axis of the weight


@dataclass(frozen=True)
class ComputedWeight:
    """How a weight is computed. `source` reads the stored tensor that has its shape; `scales` read the others that have
    values for each row. `steps` are all nodes of the computation in order, the weight last. `columns`: whether each
    column, too, is computed by itself."""

    source: fx.Node
    scales: tuple[fx.Node, ...]
    steps: tuple[fx.Node, ...]
    columns: bool


def computed_weights(graph: fx.Graph, held: dict[str, Any], stored: set[int]) -> dict[fx.Node, ComputedWeight]:
    """The calls of layers whose weights are computed row by row, with the computation. `held` has the tensors and
    numbers of the graph, `stored` the ids of the network's own tensors."""
    found = {}
    for node in graph.nodes:
        if node.op == "call_function" and getattr(node.target, "__name__", "") in LAYERS:
            weight = node.kwargs.get("weight", node.args[1] if len(node.args) > 1 else None)
            if (
                isinstance(weight, fx.Node)
                and weight.op != "get_attr"
                and (known := _computed(node, weight, held, stored))
            ):
                found[node] = known
    return found


def weight_of(computed: ComputedWeight, held: dict[str, Any]) -> Tensor:
    """The weight for the tensors and numbers `held`, in float64 on the CPU. Tensors on the meta device stay there."""
    return _run(computed, {step: _exact(held[target(step)]) for step in computed.steps if step.op == "get_attr"})


def _exact(value: Any) -> Any:
    floating = isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta
    return value.detach().cpu().double() if floating else value


def _computed(layer: fx.Node, weight: fx.Node, held: dict[str, Any], stored: set[int]) -> ComputedWeight | None:
    steps = _steps(weight)
    inside = {*steps, layer}
    if any(step.op != "get_attr" and not inside.issuperset(step.users) for step in steps):
        return None
    values = {step: held[target(step)] for step in steps if step.op == "get_attr"}
    tensors = [step for step, value in values.items() if isinstance(value, Tensor)]
    shape: torch.Size = weight.meta["shape"]
    source = next((step for step in tensors if values[step].shape == shape), None)
    if source is None or any(step.op in ("placeholder", "call_module") for step in steps):
        return None
    owner = target(source).rpartition(".")[0]
    numbers = [target(step).rpartition(".") for step in values if step not in tensors]
    if any(path != owner or name not in ROLES for path, _, name in numbers):
        return None
    rows = [step for step in tensors if values[step].dim() and len(values[step]) == shape[0]]
    if not all(id(values[step]) in stored for step in rows):
        return None
    scales = tuple(step for step in rows if step is not source)
    columns = [step for step in scales if values[step].dim() > 1 and values[step].shape[1] == shape[1] > 1]
    by_rows = ComputedWeight(source, scales, tuple(steps), columns=False)
    if not _separate(held, by_rows, rows, 0):
        return None
    return replace(by_rows, columns=not columns and _separate(held, by_rows, [source], 1))


def _steps(weight: fx.Node) -> list[fx.Node]:
    """The nodes that a weight is computed by, in the order of their execution."""
    found: set[fx.Node] = set()
    waiting = [weight]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return [node for node in weight.graph.nodes if node in found]


def _separate(held: dict[str, Any], computed: ComputedWeight, cut: list[fx.Node], axis: int) -> bool:
    """Whether the weight at some positions along `axis` is the weight of the tensors `cut` at these positions."""
    generator, whole = torch.Generator().manual_seed(0), dict[fx.Node, Any]()
    for step in computed.steps:
        if step.op == "get_attr":
            value = held[target(step)]
            random = isinstance(value, Tensor) and value.is_floating_point()
            whole[step] = torch.randn(value.shape, generator=generator, dtype=torch.float64) if random else value
    length = whole[computed.source].shape[axis]
    return all(_same_at(computed, whole, cut, axis, kept) for kept in _trials(length, generator) if len(kept))


def _trials(length: int, generator: torch.Generator) -> list[Tensor]:
    """Positions to keep: halves with what they leave out, so that each position is missed once, and all but one."""
    orders = [torch.randperm(length, generator=generator) for _ in range(2)]
    some = [part for order in orders for part in order.tensor_split(2)] + [orders[0][1:]]
    return [kept.sort().values for kept in some]


def _same_at(computed: ComputedWeight, whole: dict[fx.Node, Any], cut: list[fx.Node], axis: int, kept: Tensor) -> bool:
    part = {step: value.index_select(axis, kept) if step in cut else value for step, value in whole.items()}
    numbers = [step for step in part if not isinstance(part[step], Tensor)]
    part |= {step: len(kept) for step in numbers if ROLES[target(step).rpartition(".")[2]] == axis}
    try:
        expected, found = _run(computed, whole).index_select(axis, kept), _run(computed, part)
    except (RuntimeError, IndexError, TypeError, ValueError):
        return False
    return bool(expected.isfinite().all()) and found.shape == expected.shape and torch.allclose(found, expected)


def _run(computed: ComputedWeight, values: dict[fx.Node, Any]) -> Tensor:
    values = dict(values)
    with torch.no_grad():
        for step in computed.steps:
            if step not in values:
                args, kwargs = fx.node.map_arg((step.args, step.kwargs), values.__getitem__)
                values[step] = execute(step, args, kwargs, {})
    result: Tensor = values[computed.steps[-1]]
    return result
