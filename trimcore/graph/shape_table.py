"""The shapes of every layer, and what they become when a network is cut."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves

from trimcore.graph.channel_graph import ChannelGraph, Part
from trimcore.graph.costs import cost_of
from trimcore.graph.meta import MULTIPLY
from trimcore.graph.nodes import part_name, target

NUMBERS = ["parameters_before", "parameters_after", "macs_before", "macs_after"]
COLUMNS = ["layer", "kind", "weights_before", "weights_after", "output_before", "output_after", *NUMBERS]
PAIRS = ("weights", "output", "parameters", "macs")
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


@dataclass
class LayerShape:
    """A layer, or a stored tensor that the forward function itself uses (kind "parameter").

    `weights` has the shapes of its weights without biases; a recurrent layer has several. `output` has the shapes of
    its results without the batch axis, each once: several if it is called at several sizes. `macs` are per example.
    """

    kind: str
    weights: list[torch.Size] = field(default_factory=list)
    output: list[torch.Size] = field(default_factory=list)
    parameters: int = 0
    macs: int = 0


def layer_shapes(graph: ChannelGraph) -> dict[str, LayerShape]:
    """The layers of a traced network in the order in which they run, and at the end those that only training uses.
    Every parameter belongs to a layer; shared weights belong to each layer that shares them."""
    found: dict[str, LayerShape] = {}
    modules = dict(graph.model.named_modules())
    stored = dict(graph.model.named_parameters(remove_duplicate=False))
    called = {part_name(node) for node in graph.graph.nodes if _is_called(node)}
    taken = {id(tensor) for part in graph.parts.values() for _, tensor, _ in part.tensors()}
    batch = next((len(x) for x in tree_leaves(graph.inputs) if isinstance(x, Tensor) and x.dim()), 1)
    for node in graph.graph.nodes:
        name = _name(graph, node)
        if name.rpartition(".")[0] in called and node.op == "get_attr":
            continue  # a weight of a layer that is called as a function
        module, part = modules.get(name) if name in called else None, graph.parts.get(name)
        if name not in found:
            if part or (module is not None and next(module.parameters(), None) is not None):
                found[name] = _layer(part, module, taken)
            elif name in stored and id(stored[name]) not in taken:
                found[name] = _parameter(stored[name], taken)
        if name in found and node.op != "get_attr" and (shape := _per_example(node, batch)) is not None:
            found[name].output += [] if shape in found[name].output else [shape]
    found |= {name: _layer(part, None, taken) for name, part in graph.parts.items() if name not in found}
    found |= {name: _parameter(tensor, taken) for name, tensor in stored.items() if id(tensor) not in taken}
    for name, layer in cost_of(graph).layers.items():
        found[name].macs = layer.macs
    return found


def shape_table(before: dict[str, LayerShape], after: dict[str, LayerShape]) -> pd.DataFrame:
    """One row per layer with COLUMNS, in the order of `before`. Shapes are text, 50x20x5x5; several are joined by "; ".
    A layer that one of the networks lacks, such as a maximum that is gone, has empty cells there."""
    rows = []
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        cells = [_cell(own, key) for key in PAIRS for own in (was, now)]
        rows.append((name, was.kind if was else after[name].kind, *cells))
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(NUMBERS, "Int64"))


def arrows(table: pd.DataFrame, times: str = "x") -> pd.DataFrame:
    """A `shape_table` to read: layer, kind, weights, output, parameters and macs as text, "50x20x5x5 → 35x14x5x5" where
    they differ. `times` is the sign between the lengths of a shape."""
    shown = table[["layer", "kind"]].copy()
    for key in PAIRS:
        before, after = (table[f"{key}_{when}"].map(lambda cell: _text(cell, times)) for when in ("before", "after"))
        shown[key] = before.where(before == after, before + " → " + after)
    return shown


def changed(table: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows of a `shape_table` have anything that differs."""
    differs = [table[f"{key}_before"].ne(table[f"{key}_after"]).fillna(True) for key in PAIRS]
    return pd.concat(differs, axis=1).any(axis=1)


def _is_called(node: fx.Node) -> bool:
    return node.op == "call_module" or "part" in node.meta


def _name(graph: ChannelGraph, node: fx.Node) -> str:
    """The layer or the stored tensor that a node stands for, or else its own name."""
    if _is_called(node):
        return part_name(node)
    if node.op == "get_attr":
        return target(node)
    if getattr(node.target, "__name__", node.target) in MULTIPLY:  # named by `Tracer.add_fixed`
        within = node.meta.get("within", "")
        names = [name for name in (f"{within}.products", within) if name in graph.parts]
        return next((name for name in names if graph.parts[name].kind == "fixed"), node.name)
    return node.name


def _layer(part: Part | None, module: nn.Module | None, taken: set[int]) -> LayerShape:
    """A part, a module that is called, or both, without the outputs. Takes the module's parameters that no part has."""
    tensors = [(name, tensor) for name, tensor, _ in part.tensors()] if part else []
    own = {name: tensor for name, tensor in tensors if isinstance(tensor, nn.Parameter)}
    rest = {name: tensor for name, tensor in module.named_parameters() if id(tensor) not in taken} if module else {}
    taken.update(map(id, rest.values()))
    weights = [tensor for name, tensor in tensors if name.startswith("weight")]
    weights = weights or [tensor for name, tensor in (own | rest).items() if not name.endswith("bias")]
    return LayerShape(
        part.kind if part else "norm" if isinstance(module, NORMS) else "fixed",
        [tensor.shape for tensor in weights],
        parameters=sum(tensor.numel() for tensor in (*own.values(), *rest.values())),
    )


def _parameter(tensor: Tensor, taken: set[int]) -> LayerShape:
    taken.add(id(tensor))
    return LayerShape("parameter", [tensor.shape], parameters=tensor.numel())


def _per_example(node: fx.Node, batch: int) -> torch.Size | None:
    """The shape of the node's first result without the batch. That is the first axis, a factor of it (the windows of an
    image), or another axis (recurrent layers that take the steps first)."""
    shape = _first_shape(node.meta.get("shape"))
    if shape is None:
        return None
    axis = next((axis for axis, length in enumerate(shape) if length == batch), None)
    if axis != 0 and batch > 1 and len(shape) and shape[0] % batch == 0:
        return torch.Size((shape[0] // batch, *shape[1:]))
    return shape if axis is None else torch.Size((*shape[:axis], *shape[axis + 1 :]))


def _first_shape(value: Any) -> torch.Size | None:
    if isinstance(value, torch.Size) or not isinstance(value, tuple | list):
        return value if isinstance(value, torch.Size) else None
    return next((shape for inner in value if (shape := _first_shape(inner)) is not None), None)


def _cell(own: LayerShape | None, key: str) -> Any:
    if own is None:
        return "" if key in ("weights", "output") else None
    value = getattr(own, key)
    return "; ".join("x".join(map(str, shape)) for shape in value) if isinstance(value, list) else value


def _text(cell: Any, times: str) -> str:
    if pd.isna(cell) or cell == "":
        return "–"
    return cell.replace("x", times) if isinstance(cell, str) else f"{cell:,}"
