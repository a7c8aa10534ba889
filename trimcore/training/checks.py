"""Check that a spec, its data and its network fit each other, before anything is trained."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trimcore.compute.inputs import call
from trimcore.compute.modes import in_mode
from trimcore.compute.outputs import scores_of
from trimcore.data.batches import Batches
from trimcore.data.dataset import Data
from trimcore.errors import NotTrimmable, SpecError, TrimError, first_line
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.spec import Spec, Step
from trimcore.surgery import grouping
from trimcore.surgery.magnitude import prunable
from trimcore.surgery.reconstruction import widths_of
from trimcore.tasks import Task
from trimcore.tasks.task import Tally


def check_scores(spec: Spec, network: nn.Module, example: Any, classes: int) -> None:
    """Refuse a network that does not return one score per class. Raises SpecError. example (1, C, S, S)"""
    name, shape = spec.model, tuple(getattr(example, "shape", ()))
    try:
        with in_mode(network, False), torch.no_grad():
            scores = call(network, example)
            scores = scores_of(scores) if isinstance(scores, Mapping) else scores
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise SpecError(f"{name} cannot take images of shape {shape[1:]}: {first_line(error)}") from error
    if not isinstance(scores, Tensor):
        raise SpecError(f"{name} returns a {type(scores).__name__}, not a tensor with {classes} scores per image")
    if scores.shape != (1, classes):
        found = f"{scores.shape[1]} scores" if scores.dim() == 2 else f"scores of shape {tuple(scores.shape[1:])}"
        raise SpecError(f"{name} returns {found} per image, but {spec.data} has {classes} classes")


def check_task(spec: Spec, network: nn.Module, data: Data, task: Task, device: torch.device) -> None:
    """Refuse a network whose outputs the metrics of the task do not take. Raises SpecError. Runs it on two examples."""
    batch = next(iter(Batches(data.validation.subset(2), data, 2, device)))
    name = spec.model
    try:
        with in_mode(network, False), torch.no_grad():
            predicted = task.predict(network, batch)
    except TrimError:
        raise
    except Exception as error:  # a user's network or task may raise anything
        shape = tuple(getattr(task.inputs(batch), "shape", ())[1:]) or "this kind"
        raise SpecError(f"{name} cannot take inputs of shape {shape} of {spec.data}: {first_line(error)}") from error
    try:
        Tally(task, device).add(*predicted)
    except TrimError as error:
        raise SpecError(f"the outputs of {name} do not fit task {spec.task!r}: {error}") from None


def check_augmentation(spec: Spec, data: Data) -> None:
    """Refuse to augment data of the user's own. Raises SpecError."""
    named = {"base": spec.base, "convert": spec.convert, "retrain": spec.retrain}
    named |= {f"step {i}.retrain": spec.retrain_after(step) for i, step in enumerate(spec.step, 1)}
    for name, section in named.items() if data.is_own else ():
        if section.augment != "none":
            raise SpecError(f"{name}.augment = {section.augment!r} is for images; data of your own augment themselves")


def check_conversion(spec: Spec, graph: ChannelGraph) -> list[str]:
    """The layers that a conversion to maxout groups into units. Raises SpecError for a layer that cannot be grouped."""
    if spec.convert.to != "maxout":
        return []
    return list(grouping.check(graph, spec.convert.layers, spec.convert.k))


def check_steps(
    spec: Spec, graph: ChannelGraph, origins: dict[str, list[int]], base: Callable[[], nn.Module],
    grouped: Collection[str] = (),
) -> None:  # fmt: skip
    """Refuse layers and neurons that do not exist or cannot be trimmed. Raises SpecError.

    `graph` is of the network to start from; `origins` are the indices of its neurons in the base model. `base` builds
    the base model, because steps name neurons by their index in it. `grouped` are the layers that will have maxout
    units.
    """
    if not graph.trimmable() and not graph.units:
        raise SpecError(graph.untrimmable_reason())
    named = any(step.also_cut or step.never_cut for step in spec.step)
    widths = widths_of(base()) if named else {}
    for number, step in enumerate(spec.step, 1):
        if step.weights:
            _check_weights(f"step {number}", graph, step)
            continue
        _check_units(f"step {number}", {*graph.units, *grouped}, step)
        for name in [*step.layers, *step.layer, *step.also_cut, *step.never_cut]:
            if name != "all" or step.layers != ["all"]:
                _check_layer(f"step {number}", graph, name)
        for name, neurons in (*step.also_cut.items(), *step.never_cut.items()):
            if neurons and max(neurons) >= widths[name]:
                has = f"has neurons 0 to {widths[name] - 1}, not {max(neurons)}"
                raise SpecError(f"step {number}: layer {name!r} of the base model {has}")
        _check_also_cut(f"step {number}", graph, step, origins)


def _check_weights(where: str, graph: ChannelGraph, step: Step) -> None:
    known = prunable(graph.model)
    for name in [*step.layers, *step.layer]:
        if name != "all" and name not in known:
            raise SpecError(f"{where}: {name!r} has no weights to prune; layers with weights: {', '.join(known)}")


def _check_units(where: str, grouped: Collection[str], step: Step) -> None:
    own = [name for name, rule in step.layer.items() if rule.rule == "maxout"]
    named = [name for name in step.layers if name != "all" and step.rule_for(name).rule == "maxout"]
    if (step.rule == "maxout" or own or named) and not grouped:
        raise SpecError(f"{where}: rule 'maxout' needs a layer with maxout units, but the network has none")
    for name in [*own, *named]:
        if name not in grouped:
            raise SpecError(f"{where}: layer {name!r} has no maxout units; layers with units: {', '.join(grouped)}")


def _check_layer(where: str, graph: ChannelGraph, name: str) -> None:
    try:
        leader = graph.layer(name).leader
    except NotTrimmable as error:
        raise SpecError(f"{where}: {error}") from None
    if leader != name:
        raise SpecError(f"{where}: layer {name!r} is pruned together with {leader!r}; name {leader!r} instead")


def _check_also_cut(where: str, graph: ChannelGraph, step: Step, origins: dict[str, list[int]]) -> None:
    for name, neurons in step.also_cut.items():
        allowed = {origins[name][i] for i in graph.candidates(name)}
        if fixed := sorted(set(neurons) & set(origins[name]) - allowed):
            raise SpecError(f"{where}: neuron {fixed[0]} of layer {name!r} cannot be removed: it is frozen")
