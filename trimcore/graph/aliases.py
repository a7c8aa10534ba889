"""torch.fx writes `x += y` as `x = x + y`: wrong where the old x is used once more, under another name."""

from torch import fx

from trimcore.errors import NotTrimmable
from trimcore.graph.nodes import operand
from trimcore.graph.rules import rule_for
from trimcore.graph.rules.elementwise import same
from trimcore.graph.rules.shape import chunk, expand, item, move, reshape, squeeze
from trimcore.graph.tracer import Tracer


def check_in_place(tracer: Tracer, graph: fx.Graph) -> None:
    """Raises NotTrimmable, naming the operation that uses a value after it has been changed in place."""
    place = {node: i for i, node in enumerate(graph.nodes)}
    for node in place:
        if "in_place" not in node.meta or not tracer.is_followed(node):
            continue
        for name in names_of(tracer, operand(node)):
            later = next((user for user in name.users if place[user] > place[node]), None)
            if later:
                raise NotTrimmable(
                    f"{later.name} uses a value that {node.name} has changed in place; write x = x + y for x += y"
                )


def names_of(tracer: Tracer, node: fx.Node) -> set[fx.Node]:
    """The nodes that give the same memory as `node`."""
    found, new = set[fx.Node](), {node}
    while new:
        found |= new
        near = {user for n in new for user in n.users if _is_view(tracer, user)}
        near |= {operand(n) for n in new if _is_view(tracer, n)}
        new = near - found
    return found


VIEWS = (same, move, reshape, expand, squeeze, item, chunk)


def _is_view(tracer: Tracer, node: fx.Node) -> bool:
    if not node.args or not isinstance(node.args[0], fx.Node) or not tracer.is_followed(node.args[0]):
        return False
    if is_in_place(tracer, node):
        return True
    return rule_for(tracer, node) in VIEWS and _name(node) != "clone"


def is_in_place(tracer: Tracer, node: fx.Node) -> bool:
    """Whether a call changes its operand and returns it: by a setting of the module, or of the call, or by its name.
    (`x += y` is something else, see `check_in_place`.)"""
    if not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if node.op == "call_module":
        return bool(getattr(tracer.module(node), "inplace", False))
    name = _name(node)
    return bool(node.kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__"))


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))
