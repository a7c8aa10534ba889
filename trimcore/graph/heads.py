"""The heads of attention: which channels of queries, keys and values belong to which head."""

from collections.abc import Container, Iterable, Sequence

from torch import Tensor, fx

from trimcore.graph.channels import Channels, atoms_of, varying_axes
from trimcore.graph.nodes import part_name

Head = tuple[int, int]  # the number of an attention, and of a head in it
Heads = list[Tensor]  # of one attention: for queries, keys and values, the channels of each head, (heads, channels)


def head_rows(x: Channels, heads: int) -> Tensor | None:
    """The channels of each head of a value (..., heads, positions, channels), or with the last two axes swapped; None
    if they are not along these axes. Where fewer heads serve all, as those of grouped keys do, they are repeated."""
    varying = {axis - x.ids.dim() for axis in varying_axes(x.ids)}
    if x.ids.dim() < 4 or not varying or not varying < {-3, -2, -1} or heads % x.shape[-3]:
        return None
    one = x.ids[tuple(0 for _ in range(x.ids.dim() - 3))].narrow(-1 if -2 in varying else -2, 0, 1)
    return atoms_of(one.reshape(x.shape[-3], -1)).repeat_interleave(heads // x.shape[-3], 0)


def has_heads(x: Channels) -> bool:
    """Whether the channels of a value differ by head."""
    return x.ids.dim() > 3 and x.ids.dim() - 3 in varying_axes(x.ids)


def earlier_product(node: fx.Node, products: dict[fx.Node, Heads], layers: Container[str]) -> Heads | None:
    """The heads of the nearest product that the value of `node` is computed from, without passing one of `layers`."""
    seen, waiting = set[fx.Node](), [node]
    while waiting:
        now = waiting.pop()
        if now in products:
            return products[now]
        if now not in seen and part_name(now) not in layers:
            seen.add(now)
            waiting += now.all_input_nodes
    return None


def head_of_groups(attentions: list[Heads]) -> dict[int, Head]:
    """The head of each channel group that belongs to one. `attentions` has the heads in channel groups."""
    found: dict[int, Head] = {}
    for count, heads in enumerate(attentions):
        for rows in heads:
            for number, row in enumerate(rows.tolist()):
                for group in row:
                    found.setdefault(group, (count, number))
    return found


def numbered(heads: dict[int, Head], groups: Tensor) -> list[int | None]:
    """The number of the head that each neuron of a layer belongs to, None for neurons of no head. `groups` (width,) has
    the channel groups of the neurons, and `heads` the head of a group."""
    own = [heads.get(group) for group in groups.tolist()]
    order = {head: index for index, head in enumerate(dict.fromkeys(head for head in own if head is not None))}
    return [None if head is None else order[head] for head in own]


def lost_heads(heads: Sequence[int | None], removed: Iterable[int]) -> set[int]:
    """The heads of which no neuron is left without the neurons `removed`. `heads` has the head of each neuron."""
    gone = set(removed)
    stays = {head for neuron, head in enumerate(heads) if neuron not in gone}
    return {head for head in heads if head is not None} - stays
