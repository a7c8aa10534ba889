"""Typed access to the targets and operands of `torch.fx` nodes."""

from collections.abc import Callable
from typing import Any, cast

from torch import fx

PARAMETRIZED = ".parametrizations.weight"  # behind the name of a module, where its parametrized weight is stored


def target(node: fx.Node) -> str:
    """The name of the module or method that a node calls, or of the stored tensor that it reads."""
    return cast(str, node.target)


def part_name(node: fx.Node) -> str:
    """The name of the layer that a node calls, as a module or as a function with the module's tensors."""
    return cast(str, node.meta.get("part", node.target))


def function(node: fx.Node) -> Callable[..., Any]:
    """The function that a node calls."""
    return cast(Callable[..., Any], node.target)


def operand(node: fx.Node) -> fx.Node:
    """The first operand of a node: the source of a view, or the value that an in-place operation changes."""
    return cast(fx.Node, node.args[0])
