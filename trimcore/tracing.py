"""From a network to its channel graph: `torch.fx` records the operations, `rules` follow every channel through them."""

import functools
import inspect
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from trimcore import rules
from trimcore.capture import Captured, capture
from trimcore.channels import (
    Channels,
    Value,
    canonical,
    channel_axis,
    found_in,
    laid_along,
    narrowed,
    spread,
    varying_axes,
    with_zero,
)  # fmt: skip
from trimcore.errors import NotTrimmable, first_line
from trimcore.folding import Constant, Fold, can_absorb, has_fixed_shift
from trimcore.graph import (
    ChannelGraph,
    Part,
    Roles,
    Site,
    Units,
    by_group,
    connected,
    first_reasons,
    layers_of,
    target,
)  # fmt: skip
from trimcore.in_place import check_in_place, is_in_place, names_of, operand
from trimcore.maxout import Maxout
from trimcore.numbers import Numbers, same_proportions
from trimcore.on_meta import Args, Kwargs, execute, mapped, work_on_meta

Groups = dict[str, Tensor]  # by role
Axes = dict[str, Roles]  # by tensor


def trace(model: nn.Module, example_input: Tensor | tuple[Any, ...]) -> ChannelGraph:
    """Trace `model` and follow its channels. No weight is touched or copied; the model may live on the meta device.

    `example_input` gives shapes only: a batch (N, C, H, W), or a tuple of inputs. The network is traced in evaluation
    mode (and in training mode too where modules take part in training only) and left in the mode it was in. Raises
    NotTrimmable when torch.fx cannot trace it (control flow that depends on data, say) or when shapes do not fit.
    """
    return Tracer(model, capture(model), example_input).run()


class Tracer:
    """Walks the graph once, with `Channels` in place of tensors. Rules call its methods.

    Channels are numbered as they appear ("atoms"); ties between them and frozen ones are noted on the way and resolved
    at the end, all at once.
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
        self.numbers = Numbers()
        self.folds: list[Fold] = []
        self.agreements: list[tuple[str, Tensor, Tensor]] = []
        self.stored_uses: set[tuple[fx.Node, fx.Node]] = set()  # stored tensors, and where they meet their channels
        self.outputs: list[torch.Size] = []

    def run(self) -> ChannelGraph:
        for graph in self.graphs:
            inputs = iter(self.inputs)
            for node in graph.nodes:
                if node.op == "placeholder":
                    self.env[node] = self._input(node, inputs)
                elif node.op == "output":
                    self._output(node)
                else:
                    try:
                        self.env[node] = self._call(node)
                    except NotTrimmable:
                        raise
                    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError, KeyError) as error:
                        raise NotTrimmable(f"{node.name}: {first_line(error)}") from error
            check_in_place(self, graph)
            self.training_only = True
        self._freeze_shared_weights()
        return self._resolve()

    def _input(self, node: fx.Node, inputs: Iterator[Any]) -> Value:
        value: Any = next(inputs, node.args[0] if node.args else None)
        return fx.node.map_aggregate(value, lambda v: self._input_value(v) if isinstance(v, Tensor) else v)

    def _input_value(self, tensor: Tensor) -> Value:
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        return self._frozen_value(tensor.shape, "it is an input of the network", dtype)

    def _output(self, node: fx.Node) -> None:
        results = self._values(node.args)
        self.freeze(results, "it is an output of the network")
        if not self.training_only:
            self.outputs = [result.shape for result in found_in(results, Channels)]

    def _values(self, operands: Any) -> Any:
        """The same with the value of each node in its place."""
        return fx.node.map_arg(operands, self.env.__getitem__)

    def _call(self, node: fx.Node) -> Value:
        if node.op == "get_attr":
            return self.held[target(node)]
        args, kwargs = self._values(node.args), self._values(node.kwargs)
        if not found_in((args, kwargs), Channels):
            return self._constant(node, args, kwargs)
        rule = self.rule_of(node)
        given = {"module": self.module(node)} if rule in rules.WITH_MODULE else {}
        if rule is not None and ("out" in kwargs or not _fits(rule, 2 + len(args), (*kwargs, *given))):
            rule = None
        if rule not in rules.SHAPED:
            self.freeze_counted(node, node.all_input_nodes)
        result = rule(self, node, *args, **kwargs, **given) if rule else self.unknown(node, args, kwargs)
        if isinstance(result, torch.Size):
            self.numbers.note_shape(node, args[0])
        elif rule is rules.size:
            self.numbers.note_length(node, *args, **kwargs)
        if is_in_place(self, node):
            self._after_in_place(node)
        return result

    def _after_in_place(self, node: fx.Node) -> None:
        """Other names of what has been changed: nothing is known any more of where they are zero."""
        for name in names_of(self, operand(node)) - {node}:
            value = self.env.get(name)
            if isinstance(value, Channels):
                self.env[name] = with_zero(value.ids, False)

    def _constant(self, node: fx.Node, args: Args, kwargs: Kwargs) -> Any:
        """What is computed of numbers and stored tensors alone. Of tensors only the shape is found."""
        if not found_in((args, kwargs), Tensor) and node.op != "call_module":
            self.numbers.note_computed(node, len(args[0]) if args and isinstance(args[0], tuple) else 0)
            return execute(node, args, kwargs, self.modules)
        self.freeze_counted(node, node.all_input_nodes)
        result, macs = work_on_meta(node, args, kwargs, self.modules)
        if node.op == "call_module":
            self._fix(node, macs, f"{node.name} is given nothing that depends on the input")
        return result

    # --- what rules use ---

    def must_agree(self, node: fx.Node, atoms: Tensor, x: Channels) -> None:
        """Unless it turns out that x has just the channels of `atoms`, each as often as the others, both are frozen."""
        (slim,) = narrowed([x.ids])
        self.agreements.append((node.name, atoms, slim.reshape(-1) >> 1))

    def freeze_counted(self, node: fx.Node, operands: Any) -> None:
        """Freeze the channels that the numbers among the operands count."""
        atoms = self.numbers.behind(operands)
        if atoms is not None:
            self.freeze_atoms(atoms, f"{node.name} computes with their number")

    def module(self, node: fx.Node) -> nn.Module:
        return self.modules[target(node)]

    def rule_of(self, node: fx.Node) -> rules.Rule | None:
        """The rule for a node, or None."""
        module = self.module(node) if node.op == "call_module" else None
        return None if module is not None and is_rewritten(module) else rules.rule_of(node, module)

    def is_followed(self, node: fx.Node) -> bool:
        """Whether the value of a node is made of channels."""
        return bool(found_in(self.env.get(node), Channels))

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
        follows = self.rule_of(user) is rules.batch_norm and has_fixed_shift(self.module(user))
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

    def count_here(self, node: fx.Node, x: Channels) -> None:
        axis = channel_axis(x.ids)
        if axis is None:
            self.freeze(x, f"its channels are spread over several axes at {node.name}")
        elif not self.training_only:
            what = type(self.module(node)) if node.op == "call_module" else node.target
            self.sites.append(Site(node.name, axis, laid_along(x.ids, axis) >> 1, exact=what in rules.EXACT_ZEROS))

    def moved(self, node: fx.Node, x: Channels) -> Channels:
        """A value after data movement: frozen where its channels no longer lie along one axis."""
        x = Channels(canonical(x.ids))
        if varying_axes(x.ids) and channel_axis(x.ids) is None:
            self.freeze(x, f"{node.name} spreads its channels over several axes")
        return x

    def shape_of(self, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
        """The shape of what the node returns, found on the meta device. A tuple of results gives a tuple."""
        result, _ = work_on_meta(node, args, kwargs, self.modules)
        return mapped(result, lambda t: t.shape if isinstance(t, Tensor) else t)

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
        self._fix(node, macs, reason)
        return mapped(result, lambda t: self._frozen_value(t.shape, reason, t.dtype) if isinstance(t, Tensor) else t)

    # --- in the engine room ---

    def _fix(self, node: fx.Node, macs: int, reason: str) -> None:
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

    def _frozen_value(self, shape: torch.Size, reason: str, dtype: torch.dtype = torch.float32) -> Channels:
        """A value none of whose channels can go. Four-dimensional values keep one atom a channel, so that the first
        layer's input axis reads naturally; others share a single one."""
        if len(shape) == 4:
            return Channels(spread(self.fresh(shape[1], reason) * 2, shape, 1), dtype)
        return Channels((self.fresh(1, reason)[0] * 2).expand(shape), dtype)

    def _freeze_shared_weights(self) -> None:
        holders: dict[int, list[str]] = {}  # id of a tensor -> the modules that have it
        readers: dict[int, list[str]] = {}  # ... -> the nodes that read it themselves
        for name, module in self.modules.items():
            for tensor in _own_tensors(module):
                holders.setdefault(id(tensor), []).append(name)
        for node in (node for graph in self.graphs for node in graph.nodes if node.op == "get_attr"):
            if any((node, user) not in self.stored_uses for user in node.users):
                readers.setdefault(id(self.env[node]), []).append(node.name)
        for part in self.parts.values():
            own = (part.name, part.name.rpartition(".")[0] if part.name not in self.modules else part.name)
            tensors = [id(tensor) for _, tensor, _ in part.tensors()]
            others = [holder for tensor in tensors for holder in holders[tensor] if holder not in own]
            others += [reader for tensor in tensors for reader in readers.get(tensor, ())]
            if others:
                folded = [self.parts[fold.consumer].inputs for fold in self.folds if fold.into == part.name]
                for atoms in (*part.groups.values(), *folded):
                    self.freeze_atoms(atoms, f"{part.name} shares its weights with {others[0]}")

    def _resolve(self) -> ChannelGraph:
        root = connected(self.atoms, self.ties + self.unit_ties)
        graph = self._grouped(root)
        if self.unit_ties:
            graph.opened, graph.coarse = self._grouped(connected(self.atoms, self.ties)), root
            graph.units = self._units(graph.opened)
        return graph

    def _grouped(self, root: Tensor) -> ChannelGraph:
        freezes = list(self.freezes)
        for name, atoms, others in self.agreements:
            if not same_proportions(root[atoms], root[others]):
                both = torch.cat([atoms, others])
                freezes.append((both, f"{name} gives it a shape by the number of other channels"))
        parts, sites = by_group(root, self.parts, self.sites)
        graph = ChannelGraph(
            self.model, self.graphs[0], self.held, self.inputs, parts, sites, {}, self.atoms,
            first_reasons(root, freezes), self.outputs, self.folds,
        )  # fmt: skip
        graph.layers = layers_of(graph)
        return graph

    def _units(self, fine: ChannelGraph) -> dict[str, Units]:
        """The layers whose neurons are, in their order, those of the units of one maximum that is taken once."""
        by_neurons = {tuple(layer.neurons.tolist()): layer.name for layer in reversed(fine.layers.values())}
        calls = [target(node) for node in self.maxouts]
        fed = [by_neurons.get(tuple(fine.parts[name].inputs.tolist())) for name in calls]
        found: dict[str, Units] = {}
        for node, name, layer in zip(self.maxouts, calls, fed, strict=True):
            module = cast(Maxout, self.module(node))
            if layer and calls.count(name) == fed.count(layer) == 1 and module.k > 1:
                found[layer] = Units(name, node.all_input_nodes[0].name, module.k, module.dim)
        return found


def _shapes_of(value: Any) -> Any:
    """The same with every tensor replaced by one that has its shape and type, and no memory."""
    return fx.node.map_aggregate(
        value, lambda v: torch.empty(v.shape, dtype=v.dtype, device="meta") if isinstance(v, Tensor) else v
    )


@functools.cache
def _fits(rule: rules.Rule, count: int, names: tuple[str, ...]) -> bool:
    """Whether a rule can be called with so many operands by place, and these by name."""
    try:
        inspect.signature(rule).bind(*[None] * count, **dict.fromkeys(names))
    except TypeError:
        return False
    return True


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def is_rewritten(module: nn.Module) -> bool:
    """Whether it may compute something else than its class says: by weights that are computed from others (weight norm,
    say), by hooks before it, or by a forward function put in place of its own."""
    rewritten = nn.utils.parametrize.is_parametrized(module) or "forward" in vars(module)
    return rewritten or bool(module._forward_pre_hooks)
