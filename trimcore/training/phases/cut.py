"""The cut: remove neurons or hold weights at zero."""

import time
from collections.abc import Iterator
from typing import Any

from torch import nn

from trimcore.compute.layout import is_channels_last
from trimcore.compute.seeds import derive_seed
from trimcore.data.batches import Batches
from trimcore.graph.costs import cost_of
from trimcore.graph.removal import kept_neurons, removed_groups, unit_sizes
from trimcore.planning.plan import Plan
from trimcore.planning.selection import choose_neurons, choose_weights, cost_of_rounding, layer_entries
from trimcore.runs.events import Event
from trimcore.spec import Step, Training
from trimcore.surgery import cut as surgery
from trimcore.surgery import magnitude
from trimcore.surgery.momentum import carry_over
from trimcore.tasks.classification import Classification
from trimcore.training.batchnorm import has_batchnorm, reestimate
from trimcore.training.optimizer import make_optimizer
from trimcore.training.run import Run


def cut(run: Run) -> Iterator[Event]:
    """Cut, then measure. Steps that find nothing to remove are skipped. After the last step, the run ends."""
    state = run.state
    if run.seen is None:
        yield from run.profile()  # after a resume
    while state.step < len(run.spec.step):
        step, started = run.spec.step[state.step], time.perf_counter()
        done = _prune_weights(run, step) if step.weights else _prune_neurons(run, step)
        if done:
            break
        if state.done < step.iterations:
            text = f"step {state.step + 1}: nothing more to remove after iteration {state.iteration}"
            yield Event("note", {"text": text})
        state.step, state.done = state.step + 1, 0
    else:
        run.finish("all steps are done" if run.spec.step else "the base network is trained and profiled")
        return
    yield done
    test, validation = run.measure("test"), run.measure("validation")
    again = _with_new_statistics(run, run.spec.retrain_after(step).batchnorm_examples)
    state.row = {
        "layers_trimmed": [name for name, layer in done.data["layers"].items() if layer.get("newly", layer["cut"])],
        "accuracy_initial": test.value, "accuracy_reestimated": again.get("accuracy_reestimated"),
        "seconds": time.perf_counter() - started,
    }  # fmt: skip
    measured = {"accuracy": test.value, "validation_accuracy": validation.value, **again}
    yield Event("initial", {
        "iteration": state.iteration, "loss": test.loss, **run.metric.fields(measured),
        **run.measurement.by_class(test, validation),
    }, payload=run.snapshot)  # fmt: skip


def _with_new_statistics(run: Run, examples: int) -> dict[str, float]:
    """Estimate the statistics of BatchNorm again, from that many training images, and measure the network with them."""
    if not examples or not has_batchnorm(run.state.network):
        return {}
    split, layout = run.data.train.subset(examples), is_channels_last(run.state.network)
    batches = Batches(split, run.data, run.spec.retrain.batch_size, run.device, channels_last=layout)
    reestimate(run.state.network, batches, None if isinstance(run.task, Classification) else run.task.loss)
    test, validation = run.measure("test"), run.measure("validation")
    return {"accuracy_reestimated": test.value, "validation_accuracy_reestimated": validation.value}


def _prune_neurons(run: Run, step: Step) -> Event | None:
    state = run.state
    if state.done == step.iterations:
        return None
    assert run.seen is not None  # `cut` profiles first
    seed = derive_seed(run.spec.seed, "random", state.iteration) % 2**32
    situation = run.graph, run.seen, run.units, state.origins, seed
    chosen = choose_neurons(step, *situation)
    if not chosen.total:
        return None
    rounding = cost_of_rounding(step, chosen, *situation)
    layers, gone = layer_entries(step, chosen, state.origins, run.graph), removed_groups(run.graph, chosen)
    kept, smaller = kept_neurons(run.graph, chosen), surgery.cut(run.graph, chosen)
    state.optimizer = _carried_optimizer(run, chosen, smaller.model, run.spec.retrain_after(step))
    state.units |= unit_sizes(run.graph, gone)
    state.network, run.graph = smaller.model, smaller
    state.origins = {name: [state.origins[name][i] for i in kept[name]] for name in kept}
    return _begin_iteration(run, "pruned", layers, **rounding)


def _prune_weights(run: Run, step: Step) -> Event | None:
    """A round that finds nothing is skipped: the layers are already that sparse."""
    state = run.state
    while state.done < step.iterations:
        masks, found = choose_weights(step, state.network, state.done + 1)
        if any(layer.newly for layer in found.values()):
            state.optimizer = _carried_optimizer(run, Plan(), state.network, run.spec.retrain_after(step))
            magnitude.hold(state.network, masks)
            state.sparse = list(dict.fromkeys([*state.sparse, *masks]))
            layers = {name: {**vars(layer), "criterion": "magnitude", "cut": []} for name, layer in found.items()}
            return _begin_iteration(run, "weights", layers)
        state.done += 1
    return None


def _begin_iteration(run: Run, kind: str, layers: dict[str, dict[str, Any]], **more: object) -> Event:
    state, cost = run.state, cost_of(run.graph)
    state.iteration, state.done = state.iteration + 1, state.done + 1
    state.phase, state.epoch = "retrain", 0
    return Event(kind, {
        "iteration": state.iteration, "step": state.step, "layers": layers, "widths": cost.widths,
        "k": dict(state.units), "parameters": cost.parameters, "macs": cost.macs, **more,
    })  # fmt: skip


def _carried_optimizer(run: Run, chosen: Plan, small: nn.Module, settings: Training) -> dict[str, Any] | None:
    """The optimizer state with the momentum of the kept weights; None unless the spec keeps momentum."""
    if run.state.optimizer is None:
        return None
    before = make_optimizer(run.state.network, run.spec.retrain)
    before.load_state_dict(run.state.optimizer)
    return carry_over(before, run.graph, chosen, small, into=make_optimizer(small, settings)).state_dict()
