"""The state of a trace. Rules query it and record parts, ties, frozen channels and sites in it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from trimcore.errors import NotTrimmable
from trimcore.graph.capture import Captured
from trimcore.graph.channel_graph import Fold, Part, Roles, Site
from trimcore.graph.channels import (
    BEHIND,
    OWN,
    Channels,
    Constant,
    Value,
    atoms_of,
    canonical,
    channel_axis,
    channel_vector,
    ids_of,
    leaves_of,
    narrowed,
    spread,
    varying_axes,
)
from trimcore.graph.computed import ComputedWeight
from trimcore.graph.heads import Heads
from trimcore.graph.meta import Args, Kwargs, macs_of, map_leaves
from trimcore.graph.module_checks import can_absorb_constants, is_modified, is_plain_batch_norm
from trimcore.graph.nodes import operand, part_name, target
from trimcore.graph.sizes import Sizes

Groups = dict[str, Tensor]  # by role
Axes = dict[str, Roles]  # by tensor


class Limit(NamedTuple):
    """What stands against the removal of channels.

    frozen: they cannot be removed. width: their number must stay, so the others must keep their places. exposed: a
    layer meets them where they may be nonzero, `behind` even if they are held at zero behind their activations, `own`
    even if they are held where their own layers give them out. The two are the same for the other kinds.
    """

    kind: str
    reason: str
    behind: Tensor
    own: Tensor


class Tracer:
    """The state of one trace. `env` holds the value of each node, with `Channels` in place of tensors.

    Channels are numbered as they appear; the numbers are called atoms. Ties and freezes are recorded during the trace
    and resolved together at its end (see `resolution`).
    """

    def __init__(
        self, model: nn.Module, captured: Captured, inputs: tuple[Any, ...], whole_heads: bool = False,
        embeddings: bool = False,
    ):  # fmt: skip
        self.model, self.graphs, self.held, self.lost = model, captured.graphs, captured.held, captured.lost
        self.inputs, self.whole_heads, self.embeddings = inputs, whole_heads, embeddings
        tensors = [v for v in tree_leaves(self.inputs) if isinstance(v, Tensor) and v.dim()]
        self.batch = max(1, len(tensors[0])) if tensors else 1
        self.modules: dict[str, nn.Module] = dict(model.named_modules())
        self.stored_ids = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self.training_only = False  # True while the second graph is walked, for modules that evaluation does not use
        self.atoms = 0
        self.parts: dict[str, Part] = {}
        self.sites: list[Site] = []
        self.ties: list[tuple[Tensor, Tensor]] = []
        self.unit_ties: list[tuple[Tensor, Tensor]] = []  # neurons and their maxout units
        self.maxouts: list[fx.Node] = []
        self.limits: list[Limit] = []
        self.exits: list[Site] = []
        # Width attributes that numbers come from, the channels that each must count (None: it may not change), and why.
        self.attribute_uses: list[tuple[str, Tensor | None, str]] = []
        self.env: dict[fx.Node, Value] = {}
        self.sizes = Sizes()
        self.folds: list[Fold] = []
        self.channel_checks: list[tuple[str, Tensor, Tensor]] = []  # see `require_same_channels`
        self.stored_uses: set[tuple[fx.Node, fx.Node]] = set()  # (stored tensor, node that combines it with channels)
        self.outputs: list[torch.Size] = []
        self.joint_norms: list[Site] = []
        self.attentions: list[Heads] = []
        self.products: dict[fx.Node, Heads] = {}  # product of activations -> the heads of its attention
        self.computed: dict[fx.Node, ComputedWeight] = {}  # layers whose weights are computed at each call
        self.weight_steps: set[fx.Node] = set()  # all nodes of these computations

    def module(self, node: fx.Node) -> nn.Module:
        """The layer that a node calls. For a layer called as a function, a module of its class with its tensors."""
        found: nn.Module | None = node.meta.get("module")
        return found if found is not None else self.modules[target(node)]

    def is_tracked(self, node: fx.Node) -> bool:
        """Whether the value of a node contains channels."""
        return bool(leaves_of(self.env.get(node), Channels))

    def moved(self, node: fx.Node, x: Channels) -> Channels:
        """A value after data movement. Its width is fixed if its channels no longer lie along one axis."""
        x = Channels(canonical(x.ids))
        if varying_axes(x.ids) and channel_axis(x.ids) is None:
            self.fix_width(x, f"{node.name} spreads its channels over several axes")
        return x

    def frozen_value(self, shape: torch.Size, reason: str, dtype: torch.dtype = torch.float32) -> Channels:
        """A value whose channels are all frozen. A four-dimensional value gets one atom per channel, so that the input
        axis of the first layer has distinct channels; other values share one atom."""
        if len(shape) == 4:
            return Channels(spread(ids_of(self.new_atoms(shape[1], reason)), shape, 1), dtype)
        return Channels(ids_of(self.new_atoms(1, reason)[0]).expand(shape), dtype)

    def new_atoms(self, count: int, reason: str = "") -> Tensor:
        """New atoms, frozen if a reason is given."""
        atoms = torch.arange(self.atoms, self.atoms + count)
        self.atoms += count
        if reason:
            self.freeze_atoms(atoms, reason)
        return atoms

    def freeze(self, value: Value, reason: str) -> None:
        for channels in leaves_of(value, Channels):
            (slim,) = narrowed([channels.ids])
            self.freeze_atoms(atoms_of(slim.reshape(-1)), reason)

    def freeze_atoms(self, atoms: Tensor, reason: str) -> None:
        self.limits.append(Limit("frozen", reason, atoms, atoms))

    def fix_width(self, value: Value, reason: str) -> None:
        """Note that the number of channels must stay: they can only be removed if the others keep their places."""
        for channels in leaves_of(value, Channels):
            (slim,) = narrowed([channels.ids])
            self.limit_width(atoms_of(slim.reshape(-1)), reason)

    def limit_width(self, atoms: Tensor, reason: str) -> None:
        self.limits.append(Limit("width", reason, atoms, atoms))

    def tie(self, a: Tensor, b: Tensor) -> None:
        self.ties.append((a.reshape(-1), b.reshape(-1)))

    def tie_along(self, atoms: Tensor, axis: int) -> None:
        """Tie all atoms that differ only along one axis."""
        first = atoms.narrow(axis, 0, 1)
        self.tie(atoms, first.expand_as(atoms))

    def add_units(self, node: fx.Node, members: Tensor, units: Tensor) -> None:
        """Record maxout units: row i of `members` (units, k) has the neurons of `units[i]`."""
        self.unit_ties.append((members.flatten(), units.repeat_interleave(members.shape[1])))
        if not self.training_only:
            self.maxouts.append(node)

    def require_same_channels(self, node: fx.Node, atoms: Tensor, x: Channels) -> None:
        """Freeze `atoms` and x at the end of the trace unless x has the same channels in the same proportions."""
        (slim,) = narrowed([x.ids])
        self.channel_checks.append((node.name, atoms, atoms_of(slim.reshape(-1))))

    def freeze_counted(self, node: fx.Node, operands: Any) -> None:
        """Fix the number of the channels that numbers among the operands count, and freeze those that a width attribute
        among them counts. A layer's own attributes follow its weights."""
        for attribute in self.sizes.attributes_of(operands):
            if attribute.rpartition(".")[0] == part_name(node):
                continue
            self.attribute_uses.append((attribute, None, f"{node.name} computes with the number of channels"))
        atoms = self.sizes.counted_by(operands)
        if atoms is not None:
            self.limit_width(atoms, f"{node.name} computes with the number of channels")

    def input_atoms(self, node: fx.Node, vector: Tensor | None, expected: int) -> Tensor:
        """The atoms of the channels (ids `vector`) that enter a layer. If they cannot be tracked, new frozen ones."""
        if vector is None:
            self.freeze(self.env[operand(node)], f"its channels cannot be tracked at {node.name}")
            return self.new_atoms(expected, f"its input cannot be tracked at {node.name}")
        if len(vector) != expected:
            raise NotTrimmable(f"{part_name(node)} expects {expected} channels, not {len(vector)}")
        return atoms_of(vector)

    def mixed_input_atoms(self, node: fx.Node, x: Channels, vector: Tensor | None, expected: int) -> Tensor:
        """Like `input_atoms`, for a layer that mixes its inputs. Channels that may be nonzero here are exposed, because
        removing them would not equal holding them at zero. A known constant may be folded instead. A layer that
        computes its weight from whole rows keeps all its inputs."""
        if node in self.computed and not self.computed[node].columns:
            reason = f"{part_name(node)} computes its weights from all its inputs"
            self.fix_width(x, reason)
            return self.new_atoms(expected, reason)
        if vector is not None:
            exposed = vector & BEHIND == 0
            constant = x.constant if x.constant and len(x.constant.zero) == len(vector) else Constant(exposed[:0])
            if constant.zero.any() and exposed.any() and (into := self._absorber(node)):
                if not self.training_only:
                    self.folds.append(Fold(part_name(node), constant.chain, into))
                exposed &= constant.zero == 0
            behind, own = atoms_of(vector[exposed]), atoms_of(vector[vector & OWN == 0])
            self.limits.append(
                Limit("exposed", f"it reaches {part_name(node)} without passing through an activation", behind, own)
            )
        return self.input_atoms(node, vector, expected)

    def _absorber(self, node: fx.Node) -> str | None:
        """The module that can absorb a layer's constant inputs in its bias or running mean: the layer itself or the
        BatchNorm after it. It must be called only once."""
        if node.op != "call_module":
            return None
        module, calls = self.module(node), [n.target for n in node.graph.nodes]
        if calls.count(node.target) > 1 or not can_absorb_constants(module):
            return None
        if module.bias is not None:
            return target(node)
        (user, *others) = node.users or (node,)
        follows = user.op == "call_module" and is_plain_batch_norm(self.module(user))
        return target(user) if follows and not others and calls.count(user.target) == 1 else None

    def output_atoms(self, node: fx.Node, count: int) -> Tensor:
        """The atoms of a layer's outputs, the same at every call."""
        found = self.parts.get(part_name(node))
        return self.new_atoms(count) if found is None or found.kind == "fixed" else found.outputs

    def part(self, node: fx.Node, module: nn.Module, kind: str, groups: Groups, axes: Axes, positions: int = 0) -> Part:
        """The part of a module, created at its first call. Later calls tie their channels to those of the first."""
        return self._part(part_name(node), module, kind, groups, axes, positions)

    def _part(self, name: str, module: nn.Module, kind: str, groups: Groups, axes: Axes, positions: int = 0) -> Part:
        part = self.parts.get(name)
        if part is not None and (part.kind == "fixed") != (kind == "fixed"):
            return self._freeze_partly_fixed(part, kind, groups, axes)
        if part is None:
            part = Part(name, module, kind, groups, axes, training_only=self.training_only)
            self.parts[name] = part
        else:
            for role, atoms in groups.items():
                if atoms is not part.groups[role]:
                    self.tie(part.groups[role], atoms)
        part.positions += 0 if self.training_only else positions
        return part

    def _freeze_partly_fixed(self, part: Part, kind: str, groups: Groups, axes: Axes) -> Part:
        """Freeze a module that is tracked at one call but not at another."""
        if part.kind == "fixed":
            part.kind, part.groups, part.axes = kind, groups, axes
        for atoms in part.groups.values():
            self.freeze_atoms(atoms, f"{part.name} is also called on an input that cannot be tracked")
        return part

    def add_scale(self, path: str, module: nn.Module, atoms: Tensor, axes: Axes) -> None:
        """Record a stored tensor, by its name `path`, that has one value for each of these channels."""
        self._part(path, module, "scale", {"out": atoms}, axes)

    def add_site(self, node: fx.Node, x: Channels, exact: bool) -> None:
        """Count activations after this node. `exact` means that the activation has true zeros."""
        axis = channel_axis(x.ids)
        if axis is not None and not self.training_only:
            self.sites.append(Site(node.name, axis, atoms_of(channel_vector(x.ids, axis)), exact))

    def add_exit(self, node: fx.Node, atoms: Tensor, axis: int, norm: bool = False) -> None:
        """Note that a layer, or a norm after it, gives out these channels here."""
        if not self.training_only:
            self.exits.append(Site(node.name, axis, atoms, exact=False, norm=norm))

    def add_joint_norm(self, node: fx.Node, atoms: Tensor, axis: int) -> None:
        """Note that a norm normalises these channels together, and leaves out those that are removed."""
        self.add_exit(node, atoms, axis, norm=True)
        if not self.training_only:
            self.joint_norms.append(Site(node.name, axis, atoms, exact=False, norm=True))

    def without_rule(self, node: fx.Node, args: Args, kwargs: Kwargs) -> Value:
        """Handle an operation without a rule: freeze its inputs and its outputs."""
        module = self.module(node) if node.op == "call_module" else None
        what = type(module).__name__ if module is not None else getattr(node.target, "__name__", node.target)
        reason = node.meta.get("why", f"there is no rule for {what} at {node.name}")
        if module is not None and is_modified(module):
            reason = f"{node.name} has a pre-hook, a parametrization or a replaced forward function"
        self.freeze((args, kwargs), reason)
        self.freeze_counted(node, node.all_input_nodes)
        self.add_fixed(node, macs_of(node, args, kwargs, self.modules), reason)
        return map_leaves(
            node.meta["value"], lambda t: self.frozen_value(t.shape, reason, t.dtype) if isinstance(t, Tensor) else t
        )

    def add_products(self, node: fx.Node, args: Args, kwargs: Kwargs) -> None:
        """Record the MACs of a product of activations."""
        self.add_fixed(node, macs_of(node, args, kwargs, self.modules), "it multiplies activations, and has no neurons")

    def add_fixed(self, node: fx.Node, macs: int, reason: str) -> None:
        """Record the weights and MACs of an operation without a rule, under the innermost module that contains it."""
        if node.op == "call_module":
            name = target(node)
            if not macs and next(self.module(node).parameters(), None) is None:
                return
        elif macs:
            name = node.meta.get("within", "")
        else:
            return
        # A module whose own weights are tracked is a layer already.
        layer = node.op != "call_module" and name in self.parts and self.parts[name].kind != "fixed"
        named, module = (f"{name}.products", nn.Module()) if layer else (name or node.name, self.modules[name])
        part = self._part(named, module, "fixed", {"out": torch.arange(0)}, {})
        part.fixed_macs += 0 if self.training_only else macs // self.batch
        part.reason = part.reason or reason
