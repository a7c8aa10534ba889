"""Record the operations of a network by running its own forward function, without computing values."""

import copy
import inspect
import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from trimcore.compute.modes import in_mode
from trimcore.errors import NotTrimmable, first_line
from trimcore.graph.layer_shapes import result_of
from trimcore.graph.module_checks import is_modified
from trimcore.graph.recorder import NeedsValues, Recorder, entered
from trimcore.layers.attention import Call, attend, is_attention, is_supported
from trimcore.layers.wrappers import unwrapped

IsLayer = Callable[[nn.Module], bool]
_one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class Captured:
    """The recorded graphs.

    The first graph is of evaluation mode. A second one, of training mode, is present if some modules are used only in
    training (auxiliary heads). `held` maps the target names in the graphs to modules and tensors. `lost` has, for each
    graph, the nodes of numbers that Python code converted to plain ones.
    """

    graphs: list[fx.Graph]
    held: dict[str, Any]
    lost: list[list[fx.Node]]


def capture(model: nn.Module, inputs: tuple[Any, ...], is_layer: IsLayer) -> Captured:
    """Run the model on inputs of these shapes and record what it does. Calls of modules that satisfy `is_layer` are one
    operation. The model is unchanged afterwards, even if its forward function modifies it.

    Raises NotTrimmable if the forward function fails, or if it reads values that only data decides.
    """
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"its module {path!r}" if path else "it"
            raise NotTrimmable(
                f"{type(model).__name__} cannot be traced: {where} is scripted, so its Python code is gone"
            )
    with _restored(model):
        recorders = _recordings(model, inputs, is_layer)
        recorded = {name: value for recorder in recorders for name, value in recorder.values.held.items()}
    held = {}
    for name, value in recorded.items():
        try:
            held[name] = operator.attrgetter(name)(model)
        except AttributeError:
            held[name] = value  # a constant of the forward function
    return Captured([r.values.graph for r in recorders], held, [_lost(r) for r in recorders])


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Restore all module attributes afterwards, and what their lists and dicts contain: forward functions may store
    values, and some packages add hooks when a model first runs."""
    before = [(module, _snapshot(module)) for module in model.modules()]
    contents = [
        (value, copy.copy(value) if value else ())
        for module, _ in before
        for name, value in vars(module).items()
        if type(value) in CONTAINERS and name not in OWN_DICTS
    ]
    try:
        yield
    finally:
        for value, saved in contents:
            if not value and not saved:
                continue
            now, then = _items(value), _items(saved)
            if len(now) != len(then) or any(a is not b for a, b in zip(now, then, strict=True)):
                value.clear()
                value.extend(saved) if type(value) is list else value.update(saved)
        for module, snapshot in before:
            for attributes, saved in zip(_attribute_dicts(module), snapshot, strict=True):
                if attributes.keys() != saved.keys() or any(attributes[key] is not saved[key] for key in saved):
                    attributes.clear()
                    attributes.update(saved)


def _items(container: Any) -> list[Any]:
    return [*container, *container.values()] if isinstance(container, dict) else list(container)


CONTAINERS = (dict, OrderedDict, list, set)
OWN_DICTS = ("_parameters", "_buffers", "_modules")


def _attribute_dicts(module: nn.Module) -> list[dict[str, Any]]:
    return [module.__dict__, *(module.__dict__[name] for name in OWN_DICTS)]


def _snapshot(module: nn.Module) -> list[dict[str, Any]]:
    return [dict(attributes) for attributes in _attribute_dicts(module)]


def _recordings(model: nn.Module, inputs: tuple[Any, ...], is_layer: IsLayer) -> list[Recorder]:
    first = _recording(model, inputs, is_layer, training=False)
    used = _used_modules(first)
    with_parameters = {n for n, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None}
    if with_parameters - used:  # not used in evaluation: check whether training uses them
        second = _recording(model, inputs, is_layer, training=True)
        if _used_modules(second) & (with_parameters - used):
            return [first, second]
    return [first]


def _used_modules(recorder: Recorder) -> set[str]:
    nodes = recorder.values.graph.nodes
    return {node.target for node in nodes if node.op == "call_module"} | {
        node.target.rpartition(".")[0] for node in nodes if node.op == "get_attr"
    }


def _recording(model: nn.Module, inputs: tuple[Any, ...], is_layer: IsLayer, training: bool) -> Recorder:
    recorder, name = Recorder(model), type(model).__name__
    names = _input_names(model, len(inputs))
    try:
        with in_mode(model, training), _undisturbed(), _calls(recorder, is_layer):
            _trace_widths(recorder, model)
            given = [recorder.add_input(name, value) for name, value in zip(names, inputs, strict=True)]
            with recorder:
                result = model.forward(*given)
            recorder.values.note_lost()
            recorder.add_output(result)
            recorder.drop_unused()
    except NotTrimmable as error:
        raise NotTrimmable(f"{name} cannot be traced: {error}") from error
    except NeedsValues as error:
        where = recorder.failed_at or name
        raise NotTrimmable(f"{name} cannot be traced: {where} reads values that only data decides ({error})") from error
    except Exception as error:  # user-defined forward functions may raise anything
        raise NotTrimmable(f"{name} cannot be traced: its forward function fails: {first_line(error)}") from error
    return recorder


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No gradients, and the state of the random numbers is restored."""
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=()):
        yield


WIDTHS = (
    "in_channels", "out_channels", "groups", "in_features", "out_features", "num_features", "num_channels",
    "num_groups",
)  # fmt: skip


LAYERS = (_ConvNd, nn.Linear, _NormBase, nn.GroupNorm)  # also subclasses with a forward function of their own


def _trace_widths(recorder: Recorder, model: nn.Module) -> None:
    """Let numbers that the forward function reads from layers remember where they come from."""
    for path, module in model.named_modules():
        if isinstance(module, LAYERS):
            attributes = module.__dict__
            for name in WIDTHS:
                if type(attributes.get(name)) is int:
                    attributes[name] = recorder.values.width(f"{path}.{name}", attributes[name])
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) == 1:
            (length,) = module.normalized_shape
            module.__dict__["normalized_shape"] = (recorder.values.width(f"{path}.normalized_length", length),)


def _input_names(model: nn.Module, count: int) -> list[str]:
    names: list[str] = []
    for name, parameter in inspect.signature(model.forward).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(name)
    return [*names, *(f"input_{i}" for i in range(len(names), count))][:count]


@contextmanager
def _calls(recorder: Recorder, is_layer: IsLayer) -> Iterator[None]:
    """Let the recorder see the calls of the network's modules that this thread makes."""
    thread = threading.get_ident()

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        path = recorder.modules.get(id(module)) if threading.get_ident() == thread else None
        if path is None:  # a container that the forward function made, such as `self.features[:2]`
            return original(module, *args, **kwargs)
        if (inner := unwrapped(module)) is not module:
            return call(inner, *args, **kwargs)
        if is_layer(module):
            return _call_layer(recorder, path, module, args, kwargs)
        with entered(recorder, path):
            if is_attention(module) and not is_modified(module):
                asked = Call(*args, **kwargs)
                if is_supported(module, asked):
                    result, weights = attend(module, asked)
                    recorder.optional += [] if weights is None else [weights]
                    return result, weights
            return module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

    with _one_at_a_time:
        original = nn.Module.__call__
        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = original  # type: ignore[method-assign]


def _call_layer(recorder: Recorder, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    recorder.values.held[path] = module
    with torch._C.DisableTorchFunction():
        try:
            result = result_of(module, recorder.stand_ins(args), recorder.stand_ins(kwargs))
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise NotTrimmable(f"{path or type(module).__name__}: {first_line(error)}") from error
        if args and getattr(module, "inplace", False):
            result = args[0]
        elif isinstance(result, Tensor) and any(result is value for value in args):
            result = result.view_as(result)  # dropout in evaluation, for example
        return recorder.call_layer(path, result, args, kwargs)


def _lost(recorder: Recorder) -> list[fx.Node]:
    return [number.node for number in recorder.values.lost]
