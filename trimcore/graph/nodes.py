"""What the nodes of a `torch.fx` graph call and are given."""

from collections.abc import Callable
from typing import Any, cast

from torch import fx


def target(node: fx.Node) -> str:
    """What a node names: the module or the method that it calls, or the stored tensor that it is."""
    return cast(str, node.target)


def function(node: fx.Node) -> Callable[..., Any]:
    """The function that a node calls."""
    return cast(Callable[..., Any], node.target)


def operand(node: fx.Node) -> fx.Node:
    """The node whose value a view shows, or an operation in place changes."""
    return cast(fx.Node, node.args[0])
