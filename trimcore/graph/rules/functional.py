"""Layers called as functions with stored tensors, such as `F.conv2d(x, self.weight, self.bias)`.

They follow the rules of the layers' classes. Each call gets a module of that class with the same tensors.
"""

import inspect
from collections.abc import Callable
from typing import Any, cast

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from trimcore.graph.channels import Channels, Value
from trimcore.graph.computed import ComputedWeight
from trimcore.graph.nodes import PARAMETRIZED, part_name, target
from trimcore.graph.rules.layers import conv, cuts_whole_groups, linear
from trimcore.graph.tracer import Tracer

Maker = Callable[[str, dict[str, Any]], nn.Module | None]


def as_layer(tracer: Tracer, node: fx.Node) -> bool:
    """Give the node the layer that it calls, under the name of the module that owns the weights. Returns False if the
    call is not that of a layer with stored weights."""
    found = SIGNATURES.get(getattr(node.target, "__name__", "")) if node.op == "call_function" else None
    if found is None:
        return False
    if "part" in node.meta:
        return True
    signature, make = found
    try:
        operands = signature.bind(*node.args, **node.kwargs)
    except TypeError:
        return False
    operands.apply_defaults()
    given = operands.arguments
    stored = {name: value for name, value in given.items() if name in STORED and isinstance(value, fx.Node)}
    computed = tracer.computed.get(node)
    if computed is not None:
        stored["weight"] = computed.source
    if any(value.op != "get_attr" for value in stored.values()):
        where = node.meta["within"] or node.name
        node.meta["why"] = f"{where} computes its weights at each call"
        return False
    if "weight" not in stored:
        return False
    owner, _, name = target(stored["weight"]).rpartition(".")
    if computed is not None and owner.endswith(PARAMETRIZED):
        owner, name = owner.removesuffix(PARAMETRIZED), "weight"
    if any(_owner(value) not in (owner, owner + PARAMETRIZED) for value in stored.values()):
        return False
    tensors = {name: tracer.held[target(value)] for name, value in stored.items()}
    if any(id(tensor) not in tracer.stored_ids for tensor in tensors.values()):
        return False
    if given.get("training") and not tracer.training_only:
        return False  # it normalises by the batch in evaluation too
    if given.get("groups", 1) != 1 and not isinstance(tracer.modules[owner], _ConvNd):
        return False  # its own number of groups would not follow
    plain = {k: tensors.get(k, _value(tracer, v)) for k, v in given.items()}
    module = make(node.target.__name__, plain)  # type: ignore[union-attr]
    if module is None or (computed is not None and _mixes_columns(module, computed)):
        return False
    module.train(tracer.modules[owner].training)
    whole = name in ("weight", "in_proj_weight")
    node.meta["part"], node.meta["module"] = owner if whole else f"{owner}.{name}".lstrip("."), module
    tracer.stored_uses.update((value, node) for value in stored.values())
    if computed is not None:
        tracer.stored_uses.update((step, user) for step in (computed.source, *computed.scales) for user in step.users
                                  if user in computed.steps)  # fmt: skip
    return True


def _owner(stored: fx.Node) -> str:
    return target(stored).rpartition(".")[0]


def layer_with_computed_weight(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """The layer's own rule; the tensors that scale its rows are cut with them."""
    module, computed = tracer.module(node), tracer.computed[node]
    rule: Any = linear if isinstance(module, nn.Linear) else conv
    y: Value = rule(tracer, node, x, module=module)
    for scale in computed.scales:
        owner, _, name = target(scale).rpartition(".")
        atoms = tracer.parts[part_name(node)].outputs
        tracer.add_scale(target(scale), tracer.modules[owner], atoms, {name: ("out",)})
    return y


def projection(tracer: Tracer, node: fx.Node, x: Channels, *args: Any, **kwargs: Any) -> Value:
    """The queries, keys and values of `nn.MultiheadAttention`, see `layers.attention`. It can only lose whole heads."""
    y = linear(tracer, node, x, module=cast(nn.Linear, tracer.module(node)))
    if not tracer.whole_heads:
        tracer.freeze_atoms(tracer.parts[part_name(node)].outputs, "it can only lose whole heads (see whole_heads)")
    return y


def _mixes_columns(module: nn.Module, computed: ComputedWeight) -> bool:
    """Whether a grouped convolution whose weight is computed from whole rows would have to lose columns."""
    return isinstance(module, _ConvNd) and module.groups > 1 and not (computed.columns or cuts_whole_groups(module))


def _value(tracer: Tracer, operand: Any) -> Any:
    return fx.node.map_arg(operand, lambda n: tracer.env.get(n))


def _bare(kind: type[nn.Module], tensors: dict[str, Any], **attributes: Any) -> nn.Module:
    """A module of a class with these tensors and attributes, made without allocating weights."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    for name, tensor in tensors.items():
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(name, tensor)
        elif tensor is None and name in ("weight", "bias"):
            module.register_parameter(name, None)
        else:
            module.register_buffer(name, tensor)
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def _conv(function: str, given: dict[str, Any]) -> nn.Module | None:
    dimensions, transposed = int(function[-2]), "transpose" in function
    kind = getattr(nn, f"Conv{'Transpose' if transposed else ''}{dimensions}d")
    weight, groups = given["weight"], given["groups"]

    def each(value: Any) -> Any:
        if isinstance(value, str):
            return value
        values = tuple(value) if isinstance(value, tuple | list) else (value,)
        return values * dimensions if len(values) == 1 else values

    first, second = weight.shape[0], weight.shape[1] * groups
    inputs, outputs = (first, second) if transposed else (second, first)
    return _bare(
        kind, {"weight": weight, "bias": given["bias"]}, in_channels=inputs, out_channels=outputs, groups=groups,
        kernel_size=tuple(weight.shape[2:]), stride=each(given["stride"]), padding=each(given["padding"]),
        dilation=each(given["dilation"]), transposed=transposed, padding_mode="zeros",
        output_padding=each(given.get("output_padding", 0)),
    )  # fmt: skip


def _linear(function: str, given: dict[str, Any]) -> nn.Module | None:
    weight = given["weight"]
    if weight.dim() != 2:
        return None
    tensors = {"weight": weight, "bias": given["bias"]}
    return _bare(nn.Linear, tensors, out_features=weight.shape[0], in_features=weight.shape[1])


def _batch_norm(function: str, given: dict[str, Any]) -> nn.Module | None:
    kind: type[nn.Module] = nn.InstanceNorm2d if function == "instance_norm" else nn.BatchNorm2d
    tensors = {name: given[name] for name in STORED}
    return _bare(
        kind, tensors, num_features=given["weight"].shape[0], eps=given["eps"], momentum=given["momentum"],
        affine=True, track_running_stats=given["running_mean"] is not None,
    )  # fmt: skip


def _group_norm(function: str, given: dict[str, Any]) -> nn.Module | None:
    tensors = {name: given[name] for name in ("weight", "bias")}
    return _bare(
        nn.GroupNorm, tensors, num_groups=given["num_groups"], num_channels=given["weight"].shape[0],
        eps=given["eps"], affine=True,
    )  # fmt: skip


def _layer_norm(function: str, given: dict[str, Any]) -> nn.Module | None:
    if len(given["normalized_shape"]) != 1:
        return None
    tensors: dict[str, Any] = {name: given[name] for name in ("weight", "bias") if name in given}
    kind: type[nn.Module] = nn.LayerNorm if function == "layer_norm" else nn.RMSNorm
    return _bare(kind, tensors, normalized_shape=tuple(given["weight"].shape), eps=given["eps"],
                 elementwise_affine=True)  # fmt: skip


def _prelu(function: str, given: dict[str, Any]) -> nn.Module | None:
    return _bare(nn.PReLU, {"weight": given["weight"]}, num_parameters=given["weight"].numel())


STORED = ("weight", "bias", "running_mean", "running_var")
_CONV = inspect.signature(lambda input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1: None)
_TRANSPOSED = inspect.signature(
    lambda input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1: None
)
_BATCH_NORM = inspect.signature(
    lambda input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5: None
)
_INSTANCE_NORM = inspect.signature(
    lambda input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1,
    eps=1e-5: None
)  # fmt: skip
SIGNATURES: dict[str, tuple[inspect.Signature, Maker]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), (_CONV, _conv)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), (_TRANSPOSED, _conv)),
    "linear": (inspect.signature(lambda input, weight, bias=None: None), _linear),
    "batch_norm": (_BATCH_NORM, _batch_norm),
    "instance_norm": (_INSTANCE_NORM, _batch_norm),
    "group_norm": (inspect.signature(lambda input, num_groups, weight=None, bias=None, eps=1e-5: None), _group_norm),
    "layer_norm": (
        inspect.signature(lambda input, normalized_shape, weight=None, bias=None, eps=1e-5: None),
        _layer_norm,
    ),
    "rms_norm": (inspect.signature(lambda input, normalized_shape, weight=None, eps=None: None), _layer_norm),
    "prelu": (inspect.signature(lambda input, weight: None), _prelu),
}
