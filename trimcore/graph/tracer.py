"""What rules ask while a network is walked through, and what they note: parts, ties, frozen channels, sites."""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._pytree import tree_leaves

from trimcore.errors import NotTrimmable
from trimcore.graph.capture import Captured
from trimcore.graph.channel_graph import Fold, Part, Roles, Site
from trimcore.graph.channels import (
    Channels,
    Constant,
    Value,
    canonical,
    channel_axis,
    found_in,
    laid_along,
    narrowed,
    spread,
    varying_axes,
)
from trimcore.graph.meta import Args, Kwargs, mapped, work_on_meta
from trimcore.graph.nodes import operand, target
from trimcore.graph.sizes import Sizes

Groups = dict[str, Tensor]  # by role
Axes = dict[str, Roles]  # by tensor
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Tracer:
    """The state of one trace, with `Channels` in place of tensors in `env`.

    Channels are numbered as they appear ("atoms"). Ties between them and frozen ones are noted on the way, and resolved
    at the end all at once (see `resolution`).
    """

    def __init__(self, model: nn.Module, captured: Captured, example_input: Tensor | tuple[Any, ...]):
        self.model, self.graphs, self.held = model, captured.graphs, captured.held
        self.inputs = _shapes_of(example_input if isinstance(example_input, tuple) else (example_input,))
        tensors = [v for v in tree_leaves(self.inputs) if isinstance(v, Tensor) and v.dim()]
        self.batch = max(1, len(tensors[0])) if tensors else 1
        self.modules: dict[str, nn.Module] = dict(model.named_modules())
        self.training_only = False  # of what is met now: the second graph holds what evaluation leaves out
        self.atoms = 0
        self.parts: dict[str, Part] = {}
        self.sites: list[Site] = []
        self.ties: list[tuple[Tensor, Tensor]] = []
        self.unit_ties: list[tuple[Tensor, Tensor]] = []  # of neurons with their maxout unit
        self.maxouts: list[fx.Node] = []
        self.freezes: list[tuple[Tensor, str]] = []
        self.env: dict[fx.Node, Value] = {}
        self.sizes = Sizes()
        self.folds: list[Fold] = []
        self.agreements: list[tuple[str, Tensor, Tensor]] = []
        self.stored_uses: set[tuple[fx.Node, fx.Node]] = set()  # stored tensors, and where they meet their channels
        self.outputs: list[torch.Size] = []

    # --- values ---

    def module(self, node: fx.Node) -> nn.Module:
        return self.modules[target(node)]

    def is_followed(self, node: fx.Node) -> bool:
        """Whether the value of a node is made of channels."""
        return bool(found_in(self.env.get(node), Channels))

    def shape_of(self, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
        """The shape of what the node returns, found on the meta device. A tuple of results gives a tuple."""
        result, _ = work_on_meta(node, args, kwargs, self.modules)
        return mapped(result, lambda t: t.shape if isinstance(t, Tensor) else t)

    def moved(self, node: fx.Node, x: Channels) -> Channels:
        """A value after data movement: frozen where its channels no longer lie along one axis."""
        x = Channels(canonical(x.ids))
        if varying_axes(x.ids) and channel_axis(x.ids) is None:
            self.freeze(x, f"{node.name} spreads its channels over several axes")
        return x

    def frozen_value(self, shape: torch.Size, reason: str, dtype: torch.dtype = torch.float32) -> Channels:
        """A value none of whose channels can go. Four-dimensional values keep one atom a channel, so that the first
        layer's input axis reads naturally; others share a single one."""
        if len(shape) == 4:
            return Channels(spread(self.fresh(shape[1], reason) * 2, shape, 1), dtype)
        return Channels((self.fresh(1, reason)[0] * 2).expand(shape), dtype)

    # --- atoms: new ones, ties and freezes ---

    def fresh(self, count: int, reason: str = "") -> Tensor:
        """New atoms; frozen at once when there is a reason."""
        atoms = torch.arange(self.atoms, self.atoms + count)
        self.atoms += count
        if reason:
            self.freeze_atoms(atoms, reason)
        return atoms

    def freeze(self, value: Value, reason: str) -> None:
        for channels in found_in(value, Channels):
            (slim,) = narrowed([channels.ids])
            self.freeze_atoms(slim.reshape(-1) >> 1, reason)

    def freeze_atoms(self, atoms: Tensor, reason: str) -> None:
        self.freezes.append((atoms, reason))

    def tie(self, a: Tensor, b: Tensor) -> None:
        self.ties.append((a.reshape(-1), b.reshape(-1)))

    def tie_together(self, atoms: Tensor, axis: int) -> None:
        """Tie all that differ along one axis only."""
        first = atoms.narrow(axis, 0, 1)
        self.tie(atoms, first.expand_as(atoms))

    def unite(self, node: fx.Node, members: Tensor, units: Tensor) -> None:
        """The neurons `members` (units, k) are those of the maxout units `units` (units,)."""
        self.unit_ties.append((members.flatten(), units.repeat_interleave(members.shape[1])))
        if not self.training_only:
            self.maxouts.append(node)

    def must_agree(self, node: fx.Node, atoms: Tensor, x: Channels) -> None:
        """Unless it turns out that x has just the channels of `atoms`, each as often as the others, both are frozen."""
        (slim,) = narrowed([x.ids])
        self.agreements.append((node.name, atoms, slim.reshape(-1) >> 1))

    def freeze_counted(self, node: fx.Node, operands: Any) -> None:
        """Freeze the channels that the numbers among the operands count."""
        atoms = self.sizes.behind(operands)
        if atoms is not None:
            self.freeze_atoms(atoms, f"{node.name} computes with their number")

    # --- parts and sites ---

    def entering(self, node: fx.Node, vector: Tensor | None, expected: int) -> Tensor:
        """The atoms of the channels (ids `vector`) that enter a layer; frozen ones where they cannot be followed."""
        if vector is None:
            self.freeze(self.env[operand(node)], f"{node.name} mixes them in a way that cannot be followed")
            return self.fresh(expected, f"the input of {node.name} cannot be followed")
        if len(vector) != expected:
            raise NotTrimmable(f"{node.target} takes {expected} channels but is given {len(vector)}")
        return vector >> 1

    def consumed(self, node: fx.Node, x: Channels, vector: Tensor | None, expected: int) -> Tensor:
        """As `entering`, for a layer that mixes its input channels: those that are not zero by then are frozen, since
        removing them would not be the same as holding an activation at zero. A constant may be folded."""
        if vector is not None:
            exposed = vector % 2 == 0
            constant = x.constant if x.constant and len(x.constant.zero) == len(vector) else Constant(exposed[:0])
            if constant.zero.any() and exposed.any() and (into := self._absorber(node)):
                if not self.training_only:
                    self.folds.append(Fold(target(node), constant.chain, into))
                exposed &= constant.zero == 0
            self.freeze_atoms(vector[exposed] >> 1, f"it reaches {node.target} without passing an activation")
        return self.entering(node, vector, expected)

    def _absorber(self, node: fx.Node) -> str | None:
        """The module with the bias or the mean that can take up constant inputs of a layer: itself, or the BatchNorm
        behind it; each called only here."""
        module, calls = self.module(node), [n.target for n in node.graph.nodes]
        if calls.count(node.target) > 1 or not can_absorb(module):
            return None
        if module.bias is not None:
            return target(node)
        (user, *others) = node.users or (node,)
        follows = user.op == "call_module" and is_fixed_batch_norm(self.module(user))
        return target(user) if follows and not others and calls.count(user.target) == 1 else None

    def outputs_of(self, node: fx.Node, count: int) -> Tensor:
        """The atoms of a layer's outputs: the same ones at every call."""
        found = self.parts.get(target(node))
        return self.fresh(count) if found is None or found.kind == "fixed" else found.outputs

    def part(self, node: fx.Node, module: nn.Module, kind: str, groups: Groups, axes: Axes, positions: int = 0) -> Part:
        """The part of a module, made at its first call; at a later one its channels are tied to those of the first."""
        return self._part(target(node), module, kind, groups, axes, positions)

    def _part(self, name: str, module: nn.Module, kind: str, groups: Groups, axes: Axes, positions: int = 0) -> Part:
        part = self.parts.get(name)
        if part is not None and (part.kind == "fixed") != (kind == "fixed"):
            return self._partly_fixed(part, kind, groups, axes)
        if part is None:
            part = Part(name, module, kind, groups, axes, training_only=self.training_only)
            self.parts[name] = part
        else:
            for role, atoms in groups.items():
                if atoms is not part.groups[role]:
                    self.tie(part.groups[role], atoms)
        part.positions += 0 if self.training_only else positions
        return part

    def _partly_fixed(self, part: Part, kind: str, groups: Groups, axes: Axes) -> Part:
        """A module that is followed at one call and not at another: known, and never cut."""
        if part.kind == "fixed":
            part.kind, part.groups, part.axes = kind, groups, axes
        for atoms in part.groups.values():
            self.freeze_atoms(atoms, f"{part.name} is also called where it cannot be followed")
        return part

    def meet_stored(self, node: fx.Node, x: Channels, stored: Tensor) -> None:
        """A stored tensor with a value for each channel, met element by element. It is cut with them, if
        a state dict holds it."""
        source = next((n for n in node.all_input_nodes if n.op == "get_attr" and self.env[n] is stored), None)
        axis = channel_axis(x.ids)
        path = target(source) if source else ""
        owner, _, name = path.rpartition(".")
        module = self.modules[owner]
        own_axis = stored.dim() - len(x.shape) + (axis or 0)
        roles: Roles = (*[None] * own_axis, "out")
        kept = source is not None and name in module.state_dict(keep_vars=True)
        known = self.parts.get(path)
        other_axis = known is not None and known.axes != {name: roles}
        if source is None or axis is None or other_axis or not kept or stored.shape[own_axis] != x.shape[axis]:
            self.freeze(x, f"{node.name} combines it with a stored tensor")
            if known is not None:
                self.freeze_atoms(known.outputs, f"{node.name} reads {path} along another axis")
            return
        self._part(path, module, "scale", {"out": laid_along(x.ids, axis) >> 1}, {name: roles})
        self.stored_uses.add((source, node))

    def count_here(self, node: fx.Node, x: Channels, exact: bool) -> None:
        """Activations are counted behind this node; `exact`: it has true zeros."""
        axis = channel_axis(x.ids)
        if axis is None:
            self.freeze(x, f"its channels are spread over several axes at {node.name}")
        elif not self.training_only:
            self.sites.append(Site(node.name, axis, laid_along(x.ids, axis) >> 1, exact))

    def unknown(self, node: fx.Node, args: Args, kwargs: Kwargs) -> Value:
        """An operation without a rule: what enters is frozen, and what leaves is frozen too."""
        module = self.module(node) if node.op == "call_module" else None
        what = type(module).__name__ if module is not None else getattr(node.target, "__name__", node.target)
        reason = f"there is no rule for {what} at {node.name}"
        if module is not None and is_rewritten(module):
            reason = f"{node.name} has a pre-hook, a parametrization or a forward function of its own"
        self.freeze((args, kwargs), reason)
        self.freeze_counted(node, node.all_input_nodes)
        result, macs = work_on_meta(node, args, kwargs, self.modules)
        self.fix(node, macs, reason)
        return mapped(result, lambda t: self.frozen_value(t.shape, reason, t.dtype) if isinstance(t, Tensor) else t)

    def fix(self, node: fx.Node, macs: int, reason: str) -> None:
        """Note weights and work without a rule under the innermost module that they belong to."""
        if node.op == "call_module":
            name = target(node)
            if not macs and next(self.module(node).parameters(), None) is None:
                return
        elif macs:
            name = next(reversed(node.meta.get("nn_module_stack", {"": ""})))
            name = name.partition("@")[0]  # torch.fx marks a module that is called again so
        else:
            return
        part = self._part(name or node.name, self.modules[name], "fixed", {"out": torch.arange(0)}, {})
        part.fixed_macs += 0 if self.training_only else macs // self.batch
        part.reason = part.reason or reason


def _shapes_of(value: Any) -> Any:
    """The same with every tensor replaced by one that has its shape and type, and no memory."""
    return fx.node.map_aggregate(
        value, lambda v: torch.empty(v.shape, dtype=v.dtype, device="meta") if isinstance(v, Tensor) else v
    )


def is_rewritten(module: nn.Module) -> bool:
    """Whether it may compute something else than its class says: by weights that are computed from others (weight norm,
    say), by hooks before it, or by a forward function put in place of its own."""
    rewritten = nn.utils.parametrize.is_parametrized(module) or "forward" in vars(module)
    return rewritten or bool(module._forward_pre_hooks)


def can_absorb(module: nn.Module) -> bool:
    """Whether a constant input adds the same constant at every position: not at borders that are padded with zeros."""
    if not isinstance(module, _ConvNd):
        return isinstance(module, nn.Linear)
    transposed = isinstance(module, _ConvTransposeNd)
    padded = module.padding_mode == "zeros" and module.padding not in ("valid", (0,) * len(module.kernel_size))
    return module.groups == 1 and not transposed and not padded


def has_fixed_shift(module: nn.Module) -> bool:
    """Whether it is a BatchNorm that uses its running statistics in evaluation."""
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def is_fixed_batch_norm(module: nn.Module) -> bool:
    """Whether it is a BatchNorm of PyTorch itself that uses its running statistics in evaluation."""
    return type(module) in BATCH_NORMS and has_fixed_shift(module) and not is_rewritten(module)
