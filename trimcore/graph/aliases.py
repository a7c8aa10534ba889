"""Values that share memory: an in-place change of one shows in the others."""

from torch import fx

from trimcore.graph.nodes import operand
from trimcore.graph.rules import rule_for
from trimcore.graph.rules.elementwise import identity
from trimcore.graph.rules.pieces import chunk, getitem, split, unbind
from trimcore.graph.rules.shape import expand, expand_as, move, reshape, reshape_as, squeeze, unflatten
from trimcore.graph.torch_functions import is_in_place_name
from trimcore.graph.tracer import Tracer


def aliases_of(tracer: Tracer, node: fx.Node) -> set[fx.Node]:
    """The nodes whose values share memory with `node`, including `node` itself."""
    found, new = set[fx.Node](), {node}
    while new:
        found |= new
        neighbours = {user for n in new for user in n.users if _is_view(tracer, user)}
        neighbours |= {operand(n) for n in new if _is_view(tracer, n)}
        new = neighbours - found
    return found


VIEWS = (
    identity, move, reshape, reshape_as, unflatten, expand, expand_as, squeeze, getitem, chunk, split, unbind,
)  # fmt: skip


def _is_view(tracer: Tracer, node: fx.Node) -> bool:
    if not node.args or not isinstance(node.args[0], fx.Node) or not tracer.is_tracked(node.args[0]):
        return False
    if is_in_place(tracer, node):
        return True
    return rule_for(tracer, node) in VIEWS and _name(node) != "clone"


def is_in_place(tracer: Tracer, node: fx.Node) -> bool:
    """Whether a call changes its first operand and returns it: through an `inplace` setting of the module or call, or
    by its name (`relu_`)."""
    if not node.args or not isinstance(node.args[0], fx.Node):
        return False
    if node.op == "call_module":
        return bool(getattr(tracer.module(node), "inplace", False))
    return bool(node.kwargs.get("inplace")) or is_in_place_name(_name(node))


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))
