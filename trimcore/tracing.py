"""From a network to its channel graph: `torch.fx` records the operations, `rules` follow every channel through them."""

import inspect
import operator

import torch
from torch import Tensor, fx, nn

from trimcore import rules
from trimcore.capture import capture
from trimcore.errors import NotTrimmable, first_line
from trimcore.graph import ChannelGraph, Part, Site, connected, layers_of
from trimcore.rules import Channels


def trace(model: nn.Module, example_input: Tensor | tuple) -> ChannelGraph:
    """Trace `model` and follow its channels. No weight is touched or copied; the model may live on the meta device.

    `example_input` gives shapes only: a batch (N, C, H, W), or a tuple of inputs. The network is traced in evaluation
    mode and left in the mode it was in. Raises NotTrimmable when torch.fx cannot trace it (control flow that depends
    on data, say) or when shapes do not fit.
    """
    return Tracer(model, capture(model), example_input).run()


class Tracer:
    """Walks the graph once, with `Channels` in place of tensors. Rules call its methods.

    Channels are numbered as they appear ("atoms"); ties between them and frozen ones are noted on the way and resolved
    at the end, all at once.
    """

    def __init__(self, model: nn.Module, graph: fx.Graph, example_input):
        self.model, self.graph = model, graph
        self.inputs = example_input if isinstance(example_input, tuple) else (example_input,)
        self.modules = dict(model.named_modules())
        self.atoms = 0
        self.parts: dict[str, Part] = {}
        self.sites: list[Site] = []
        self.ties: list[tuple[Tensor, Tensor]] = []
        self.freezes: list[tuple[Tensor, str]] = []
        self.env: dict[fx.Node, object] = {}
        self.measured: set[fx.Node] = set()  # numbers that come from shapes, and so may change with the widths

    def run(self) -> ChannelGraph:
        inputs = iter(self.inputs)
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self.env[node] = self._input(node, inputs)
            elif node.op == "output":
                fx.node.map_arg(node.args, lambda n: self.freeze(self.env[n], "it is an output of the network"))
            else:
                self.env[node] = self._call(node)
        self._check_in_place()
        self._freeze_shared_weights()
        return self._resolve()

    def _input(self, node: fx.Node, inputs):
        value = next(inputs, node.args[0] if node.args else None)
        if not isinstance(value, Tensor):
            return value
        return self._frozen_value(value.shape, "it is an input of the network")

    def _call(self, node: fx.Node):
        if node.op == "get_attr":
            return operator.attrgetter(node.target)(self.model)
        args = fx.node.map_arg(node.args, self.env.__getitem__)
        kwargs = fx.node.map_arg(node.kwargs, self.env.__getitem__)
        if not _channels_in((args, kwargs)):
            if not self.measured.isdisjoint(node.all_input_nodes):
                self.measured.add(node)
            return self._execute(node, args, kwargs)
        rule, weighted = self._rule(node), {}
        if rule in (rules.conv, rules.linear, rules.batch_norm):
            weighted = {"module": self.module(node)}
        if rule in rules.ARITHMETIC and not self.measured.isdisjoint(node.all_input_nodes):
            self.freeze((args, kwargs), f"{node.name} computes with a number taken from a shape")
        try:
            known = rule and "out" not in kwargs and _fits(rule, self, node, *args, **kwargs, **weighted)
            result = rule(self, node, *args, **kwargs, **weighted) if known else self.unknown(node, args, kwargs)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise NotTrimmable(f"{node.name}: {first_line(error)}") from error
        if not _channels_in(result):
            self.measured.add(node)
        return result

    def _rule(self, node: fx.Node):
        if node.op == "call_module":
            module = self.module(node)
            return None if _is_rewritten(module) else rules.MODULES.get(type(module))
        return (rules.FUNCTIONS if node.op == "call_function" else rules.METHODS).get(node.target)

    def _check_in_place(self) -> None:
        """torch.fx writes `x += y` as `x = x + y`: wrong where the old x is used once more, under another name."""
        place = {node: i for i, node in enumerate(self.graph.nodes)}
        for node in place:
            if "in_place" not in node.meta or not isinstance(self.env[node], Channels):
                continue
            for name in self._names_of(node.args[0]):
                later = next((user for user in name.users if place[user] > place[node]), None)
                if later:
                    raise NotTrimmable(
                        f"{later.name} uses a value that {node.name} has changed in place; write x = x + y for x += y"
                    )

    def _names_of(self, node: fx.Node) -> set[fx.Node]:
        """The nodes that give the same memory as `node`."""
        found, new = set(), {node}
        while new:
            found |= new
            near = {user for n in new for user in n.users if self._is_view(user)}
            near |= {n.args[0] for n in new if self._is_view(n)}
            new = near - found
        return found

    def _is_view(self, node: fx.Node) -> bool:
        if not node.args or not isinstance(self.env.get(node.args[0]), Channels):
            return False
        rule = self._rule(node)
        if rule is rules.activation:
            module = self.module(node) if node.op == "call_module" else None
            return bool(getattr(module, "inplace", node.kwargs.get("inplace"))) or node.target in rules.IN_PLACE
        return rule in (rules.same, rules.move, rules.reshape) and node.target not in (torch.clone, "clone")

    # --- what rules use ---

    def module(self, node: fx.Node) -> nn.Module:
        return self.modules[node.target]

    def fresh(self, count: int, reason: str = "") -> Tensor:
        """New atoms; frozen at once when there is a reason."""
        atoms = torch.arange(self.atoms, self.atoms + count)
        self.atoms += count
        if reason:
            self.freeze_atoms(atoms, reason)
        return atoms

    def freeze(self, value, reason: str) -> None:
        for channels in _channels_in(value):
            slim = channels.ids
            for axis in range(slim.dim()):
                slim = slim.narrow(axis, 0, 1) if slim.stride(axis) == 0 else slim
            self.freeze_atoms(slim.reshape(-1) // 2, reason)

    def freeze_atoms(self, atoms: Tensor, reason: str) -> None:
        self.freezes.append((atoms, reason))

    def tie(self, a: Tensor, b: Tensor) -> None:
        self.ties.append((a.reshape(-1), b.reshape(-1)))

    def consume(
        self, node, module, vector: Tensor | None, inputs: int, outputs: int, kind: str, positions: int
    ) -> Tensor:
        """Register a layer that mixes its input channels (ids `vector`); returns the atoms of its output channels."""
        if vector is None:
            self.freeze(self.env[node.args[0]], f"{node.name} mixes them in a way that cannot be followed")
            vector = self.fresh(inputs, f"the input of {node.name} cannot be followed") * 2
        elif len(vector) != inputs:
            raise NotTrimmable(f"{node.target} takes {inputs} channels but is given {len(vector)}")
        elif len(exposed := vector[vector % 2 == 0]):
            # Removing such a channel would not be the same as holding an activation at zero.
            self.freeze_atoms(exposed // 2, f"it reaches {node.target} without passing an activation")
        part = self.parts.get(node.target)
        if part is None:
            part = Part(node.target, module, kind, self.fresh(outputs), vector // 2)
            self.parts[node.target] = part
        else:
            self.tie(part.inputs, vector // 2)
        part.positions += positions
        return part.outputs

    def carry(self, node: fx.Node, module: nn.Module, atoms: Tensor, kind: str, positions: int) -> Tensor:
        """Register a module with weights of its own for each channel that passes; returns the atoms."""
        expected = module.num_features if kind == "norm" else module.weight.shape[0]
        if len(atoms) != expected:
            raise NotTrimmable(f"{node.target} does not fit the {len(atoms)} channels that it is given")
        part = self.parts.setdefault(node.target, Part(node.target, module, kind, atoms, None))
        if part.outputs is not atoms:
            self.tie(part.outputs, atoms)
        part.positions += positions
        return atoms

    def count_here(self, node: fx.Node, x: Channels) -> None:
        axis = rules.channel_axis(x.ids)
        if axis is None:
            self.freeze(x, f"its channels are spread over several axes at {node.name}")
        else:
            self.sites.append(Site(node.name, axis, rules.along(x.ids, axis) // 2))

    def moved(self, node: fx.Node, x: Channels) -> Channels:
        """A value after data movement: frozen where its channels no longer lie along one axis."""
        x = Channels(rules.canonical(x.ids))
        if rules.varying_axes(x.ids) and rules.channel_axis(x.ids) is None:
            self.freeze(x, f"{node.name} spreads its channels over several axes")
        return x

    def shape_of(self, node: fx.Node, *args, **kwargs):
        """The shape of what the node returns, found on the meta device. A tuple of results gives a tuple."""
        result = self._on_meta(node, args, kwargs)
        return fx.node.map_aggregate(result, lambda t: t.shape if isinstance(t, Tensor) else t)

    def unknown(self, node: fx.Node, args, kwargs):
        """An operation without a rule: what enters is frozen, and what leaves is frozen too."""
        what = (
            type(self.module(node)).__name__
            if node.op == "call_module"
            else getattr(node.target, "__name__", node.target)
        )
        reason = f"there is no rule for {what} at {node.name}"
        self.freeze((args, kwargs), reason)
        result = self._on_meta(node, args, kwargs)
        return fx.node.map_aggregate(
            result, lambda t: self._frozen_value(t.shape, reason, t.dtype) if isinstance(t, Tensor) else t
        )

    # --- in the engine room ---

    def _frozen_value(self, shape: torch.Size, reason: str, dtype: torch.dtype = torch.float32) -> Channels:
        """A value none of whose channels can go. Four-dimensional values keep one atom a channel, so that the first
        layer's input axis reads naturally; others share a single one."""
        if len(shape) == 4:
            return Channels(rules.spread(self.fresh(shape[1], reason) * 2, shape, 1), dtype)
        return Channels((self.fresh(1, reason)[0] * 2).expand(shape), dtype)

    def _execute(self, node: fx.Node, args, kwargs):
        if node.op == "call_module":
            return self.module(node)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], node.target)(*args[1:], **kwargs)
        return node.target(*args, **kwargs)

    def _on_meta(self, node: fx.Node, args, kwargs):
        """What the node returns for tensors without memory, all of one dtype; no hook of a module is called."""

        def stand_in(value):
            if isinstance(value, Channels):
                return _without_memory(torch.empty(value.shape, device="meta", dtype=value.dtype))
            return _without_memory(value) if isinstance(value, Tensor) else value

        args, kwargs = fx.node.map_aggregate(args, stand_in), fx.node.map_aggregate(kwargs, stand_in)
        with torch.no_grad():
            if node.op != "call_module":
                return self._execute(node, args, kwargs)
            module = _Forward(self.module(node))
            state = {n: _without_memory(t) for n, t in (*module.named_parameters(), *module.named_buffers())}
            return torch.func.functional_call(module, state, args, kwargs)

    def _freeze_shared_weights(self) -> None:
        users: dict[int, list[str]] = {}  # id of a tensor -> the modules that hold it, the nodes that read it
        for name, module in self.modules.items():
            for tensor in _own_tensors(module):
                users.setdefault(id(tensor), []).append(name)
        for node in self.graph.nodes:
            if node.op == "get_attr":
                users.setdefault(id(self.env[node]), []).append(node.name)
        for part in self.parts.values():
            others = [user for tensor in _own_tensors(part.module) for user in users[id(tensor)] if user != part.name]
            if others:
                atoms = part.outputs if part.inputs is None else torch.cat([part.outputs, part.inputs])
                self.freeze_atoms(atoms, f"{part.name} shares its weights with {others[0]}")

    def _resolve(self) -> ChannelGraph:
        root = connected(self.atoms, self.ties)
        frozen: dict[int, str] = {}
        for atoms, reason in self.freezes:
            for group in root[atoms].unique().tolist():
                frozen.setdefault(group, reason)
        for part in self.parts.values():
            part.outputs = root[part.outputs]
            part.inputs = root[part.inputs] if part.inputs is not None else None
        for site in self.sites:
            site.groups = root[site.groups]
        layers = layers_of(self.parts, self.sites, frozen)
        return ChannelGraph(self.model, self.graph, self.parts, self.sites, layers, self.atoms, frozen)


class _Forward(nn.Module):
    """A module without its hooks."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module.forward(*args, **kwargs)


def _fits(rule, *args, **kwargs) -> bool:
    """Whether a rule can be called so: an operation may be called with its operands by name."""
    try:
        inspect.signature(rule).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _own_tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _without_memory(tensor: Tensor) -> Tensor:
    return tensor.to("meta", torch.get_default_dtype() if tensor.is_floating_point() else None)


def _channels_in(value) -> list[Channels]:
    found: list[Channels] = []
    fx.node.map_aggregate(value, lambda v: found.append(v) if isinstance(v, Channels) else None)
    return found


def _is_rewritten(module: nn.Module) -> bool:
    """Weights that are computed from others (weight norm, say) cannot be sliced where they stand."""
    return nn.utils.parametrize.is_parametrized(module) or bool(module._forward_pre_hooks)
