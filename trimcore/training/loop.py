"""The loop of Network Trimming (Hu et al. 2016, section 3.2): profile, prune, retrain from the kept weights, again.

`trim` is a generator: it computes and yields events, and writes nothing. At each epoch and iteration event its state
can be taken (the event's payload) and given back as `resume`; it then goes on as if it had never stopped.
"""

import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from trimcore import __version__, models
from trimcore.compute import distributed
from trimcore.compute.device import describe, has_fast_bf16, place
from trimcore.compute.seeds import derive_seed
from trimcore.data import Data
from trimcore.data.batches import Batches
from trimcore.data.pairs import load_pairs
from trimcore.evaluation.accuracy import EVALUATION_BATCH, Measure, evaluate
from trimcore.evaluation.latency import AgainstBase
from trimcore.evaluation.verification import embedder
from trimcore.files.checkpoint import Checkpoint
from trimcore.graph.costs import cost_of
from trimcore.graph.removal import kept_neurons, removed_groups, units_left
from trimcore.graph.tracing import trace
from trimcore.layers import sharpened
from trimcore.planning.plan import Plan
from trimcore.planning.selection import choose_neurons, choose_weights, cost_of_rounding, described
from trimcore.runs.events import Event
from trimcore.scoring.apoz import Profile
from trimcore.scoring.relevance import UnitRelevance
from trimcore.spec import Spec, Step, Training
from trimcore.surgery import grouping, magnitude
from trimcore.surgery.cut import cut
from trimcore.surgery.momentum import carry_over
from trimcore.training.checks import check_conversion, check_scores, check_steps, data_for
from trimcore.training.distillation import Loss, cross_entropy, learning_from
from trimcore.training.epoch import Batch, EpochResult, make_optimizer, train_epoch
from trimcore.training.measurement import Measuring
from trimcore.training.state import first_state, restore


def trim(
    spec: Spec, *, runs: Path | None = None, data: Data | None = None, resume: dict[str, Any] | None = None
) -> Iterator[Event]:
    """Carry out a spec and yield what happens. See `events` for the kinds.

    `runs` is the folder where a parent run is looked up; `data` may be given when it is loaded already; `resume` is a
    snapshot from an earlier event. Where several processes carry out a run (see `distributed`), all of them yield the
    same events at the same time. Raises TrimError (and its kinds) for whatever the user can mend.
    """
    yield from Loop(spec, runs, data, resume).run()


class Loop:
    """The spec, the data and the device that the phases share; `state` is what moves."""

    def __init__(self, spec: Spec, runs: Path | None, data: Data | None, resume: dict[str, Any] | None):
        self.spec, self.device = spec, distributed.own_device(spec.device)
        self.data = data or data_for(spec)
        distributed.check(spec, self.data)
        self.resumed = resume is not None
        self.state = restore(resume) if resume else first_state(spec, self.data, runs)
        place(self.state.network, self.device)
        self.example = torch.zeros(1, *self.data.example_shape, device=self.device)
        check_scores(spec, self.state.network, self.example, self.data.num_classes)
        self.graph = trace(self.state.network, self.example)
        if not self.state.base:
            base = cost_of(self.graph)
            self.state.base = {"parameters": base.parameters, "macs": base.macs}
        converts = self.state.convert_epochs and not self.state.units
        grouped = check_conversion(spec, self.graph) if converts else list(self.state.units)
        check_steps(spec, self.graph, self.state.origins, self.state.arguments, grouped)
        self.state.units = {**{name: units.k for name, units in self.graph.units.items()}, **self.state.units}
        self.seen: Profile | None = None  # the profile of the network as it is
        self.units: dict[str, UnitRelevance] = {}  # ... and the relevance in its maxout units
        pairs = load_pairs(spec.verify.pairs, self.data) if spec.verify.pairs else None
        if pairs:
            embedder(self.graph)  # a network without an embedding is refused before it is trained
        timed = AgainstBase(self._base_architecture, self.example)
        self.measuring = Measuring(spec, self.data, pairs, self.device, timed, self._measured_so_far)

    def run(self) -> Iterator[Event]:
        yield self._started()
        for text in self.data.skipped[:1]:
            text = f"{len(self.data.skipped)} unreadable images are left out, {text} the first"
            yield Event("note", {"text": text, "level": "warning"})
        if distributed.normalises_apart(self.state.network, self.device):
            text = "on the CPU, BatchNorm takes its statistics over each process's own part of a batch"
            yield Event("note", {"text": text})
        phases = {
            "base": self._base, "convert": self._convert, "cut": self._cut, "retrain": self._retrain,
            "control": self._control,
        }  # fmt: skip
        while self.state.phase != "done":
            yield from phases[self.state.phase]()
        yield Event("ended", {"reason": self.state.ended, "result": self.state.result})

    # --- phases ---

    def _base(self) -> Iterator[Event]:
        yield from self._train(self.spec.base, self.spec.base_epochs, "base")
        if self.state.convert_epochs:
            yield self._begin_conversion()
            return
        if self.spec.convert_epochs:
            yield Event("note", {"text": "the network that this run begins with is converted to ReLU already"})
        yield from self._close_iteration()

    def _begin_conversion(self) -> Event:
        state, measured, epochs = self.state, self._measure("test"), self.state.convert_epochs
        state.phase, state.spent, state.epoch, state.optimizer = "convert", state.spent + state.epoch, 0, None
        over = f"{epochs} epoch{'s' if epochs > 1 else ''}"
        if self.spec.convert.to == "maxout":
            grouped = ", ".join(self._group())
            after = self._measure("test")
            text = (
                f"test accuracy {measured.accuracy:.2%} with ReLU, {after.accuracy:.2%} with the neurons of {grouped} "
                f"grouped into maxout units of {self.spec.convert.k}; training on over {over}"
            )
        else:
            kinds = " and ".join(dict.fromkeys(sharpened.smooth_modules(state.network).values()))
            text = f"test accuracy {measured.accuracy:.2%} with {kinds}; converting to ReLU over {over}"
        return Event("note", {"text": text}, payload=self._snapshot)

    def _group(self) -> list[str]:
        """Group neurons into maxout units (see `grouping`); the layers that now have some."""
        state, settings = self.state, self.spec.convert
        batches = Batches(
            self.data.train, self.data, EVALUATION_BATCH, self.device, channels_last=has_fast_bf16(self.device)
        )
        orders = grouping.group(self.graph, batches, settings.layers, settings.k)
        state.origins |= {name: [state.origins[name][i] for i in order] for name, order in orders.items()}
        state.units |= dict.fromkeys(orders, settings.k)
        self.graph = trace(state.network, self.example)
        return list(orders)

    def _convert(self) -> Iterator[Event]:
        """Train on as a maxout network; or while the activations turn into ReLUs, which are then exchanged: from here
        on zeros are true zeros."""
        if self.spec.convert.to == "maxout":
            yield from self._train(self.spec.convert, self.state.convert_epochs, "convert")
            yield from self._close_iteration()
            return
        network, settings = sharpened.sharpen(self.state.network, 1.0), self.spec.convert
        yield from self._train(
            settings, self.state.convert_epochs, "convert",
            before_step=lambda step, steps: sharpened.set_sharpness(network, sharpened.sharpness_at(step, steps)),
        )  # fmt: skip
        sharpened.to_relu(network)
        self.state.activations = "relu"
        self.graph = trace(network, self.example)
        yield from self._close_iteration()

    def _cut(self) -> Iterator[Event]:
        """Remove neurons, or hold weights at zero, then measure. Steps that find nothing are passed over."""
        state = self.state
        if self.seen is None:
            yield from self._profile()  # after a resume
        while state.step < len(self.spec.step):
            step, started = self.spec.step[state.step], time.perf_counter()
            done = self._prune_weights(step) if step.weights else self._prune_neurons(step)
            if done:
                break
            if state.done < step.iterations:
                text = f"step {state.step + 1}: nothing more to remove after iteration {state.iteration}"
                yield Event("note", {"text": text})
            state.step, state.done = state.step + 1, 0
        else:
            self._finish("all steps are done" if self.spec.step else "the base network is trained and profiled")
            return
        yield done
        test, validation = self._measure("test"), self._measure("validation")
        state.row = {
            "layers_trimmed": [name for name, layer in done.data["layers"].items() if layer.get("newly", layer["cut"])],
            "accuracy_initial": test.accuracy, "seconds": time.perf_counter() - started,
        }  # fmt: skip
        yield Event("initial", {
            "iteration": state.iteration, "accuracy": test.accuracy, "validation_accuracy": validation.accuracy,
            "loss": test.loss, **self.measuring.by_class(test, validation),
        }, payload=self._snapshot)  # fmt: skip

    def _prune_neurons(self, step: Step) -> Event | None:
        state = self.state
        if state.done == step.iterations:
            return None
        assert self.seen is not None  # `_cut` has seen to it
        seed = derive_seed(self.spec.seed, "random", state.iteration) % 2**32
        situation = self.graph, self.seen, self.units, state.origins, seed
        chosen = choose_neurons(step, *situation)
        if not chosen.total:
            return None
        rounding = cost_of_rounding(step, chosen, *situation)
        layers, gone = described(step, chosen, state.origins), removed_groups(self.graph, chosen)
        kept, smaller = kept_neurons(self.graph, chosen), cut(self.graph, chosen)
        state.optimizer = self._carried_optimizer(chosen, smaller.model, self.spec.retrain_after(step))
        state.units |= units_left(self.graph, gone)
        state.network, self.graph = smaller.model, smaller
        state.origins = {name: [state.origins[name][i] for i in kept[name]] for name in kept}
        return self._begin_iteration("pruned", layers, **rounding)

    def _prune_weights(self, step: Step) -> Event | None:
        """A round that finds nothing, since the layers are as sparse already, is passed over."""
        state = self.state
        while state.done < step.iterations:
            masks, found = choose_weights(step, state.network, state.done + 1)
            if any(layer.newly for layer in found.values()):
                state.optimizer = self._carried_optimizer(Plan(), state.network, self.spec.retrain_after(step))
                magnitude.hold(state.network, masks)
                state.sparse = list(dict.fromkeys([*state.sparse, *masks]))
                layers = {name: {**vars(layer), "criterion": "magnitude", "cut": []} for name, layer in found.items()}
                return self._begin_iteration("weights", layers)
            state.done += 1
        return None

    def _begin_iteration(self, kind: str, layers: dict[str, dict[str, Any]], **more: object) -> Event:
        state, cost = self.state, cost_of(self.graph)
        state.iteration, state.done = state.iteration + 1, state.done + 1
        state.phase, state.epoch = "retrain", 0
        return Event(kind, {
            "iteration": state.iteration, "step": state.step, "layers": layers, "widths": cost.widths,
            "k": dict(state.units), "parameters": cost.parameters, "macs": cost.macs, **more,
        })  # fmt: skip

    def _carried_optimizer(self, chosen: Plan, small: torch.nn.Module, settings: Training) -> dict[str, Any] | None:
        """Where the spec wants it, the momentum of the training before, for the weights that are kept."""
        if self.state.optimizer is None:
            return None
        before = make_optimizer(self.state.network, self.spec.retrain)
        before.load_state_dict(self.state.optimizer)
        return carry_over(before, self.graph, chosen, small, into=make_optimizer(small, settings)).state_dict()

    def _retrain(self) -> Iterator[Event]:
        settings = self.spec.retrain_after(self.spec.step[self.state.step])
        yield from self._train(settings, settings.epochs, "retrain")
        yield from self._close_iteration()

    def _control(self) -> Iterator[Event]:
        """New weights at the final widths, and at the same places if weights are held at zero, with as many epochs as
        the trimmed network has had."""
        state = self.state
        if state.epoch == 0:
            state.optimizer, masks = None, magnitude.masks_of(state.network, state.sparse)
            torch.manual_seed(derive_seed(self.spec.seed, "control"))
            models.renew(self.spec.model, state.network, **state.arguments)
            magnitude.hold(state.network, masks)
        epochs, seconds = state.inherited + state.spent, time.perf_counter()
        yield from self._train(self.spec.base, epochs, "control")
        test, validation = self._measure("test"), self._measure("validation")
        yield Event("control", {
            "parameters": sum(p.numel() for p in state.network.parameters()), "epochs": epochs,
            "accuracy": test.accuracy, "validation_accuracy": validation.accuracy, "loss": test.loss,
            "seconds": time.perf_counter() - seconds,
        })  # fmt: skip
        state.phase = "done"

    # --- pieces of them ---

    def _train(
        self, settings: Training, epochs: int, phase: str, before_step: Callable[[int, int], None] | None = None
    ) -> Iterator[Event]:
        state = self.state
        optimizer = make_optimizer(state.network, settings)
        if state.optimizer is not None:
            optimizer.load_state_dict(state.optimizer)
        seed, rate = derive_seed(self.spec.seed, phase, state.iteration), 0.0
        hold = magnitude.hold(state.network, magnitude.masks_of(state.network, state.sparse)) if state.sparse else None
        loss_of = self._learning_from_teacher() if phase == "retrain" else cross_entropy
        with distributed.together(state.network, self.device) as network:
            for epoch in range(state.epoch, epochs):
                number = {"phase": phase, "iteration": state.iteration, "epoch": epoch + 1, "epochs": epochs}
                begin, training = time.perf_counter(), train_epoch(
                    network, optimizer, self.data, settings, self.device, epoch=epoch, epochs=epochs, seed=seed,
                    loss_of=loss_of, before_step=before_step, after_step=hold,
                )  # fmt: skip
                for result in training:
                    if isinstance(result, Batch):
                        rate = result.step * settings.batch_size / (time.perf_counter() - begin)
                        done = epoch + result.step / result.steps
                        yield self._progress({**number, "step": result.step, "steps": result.steps}, done, rate)
                assert isinstance(result, EpochResult)  # it comes last
                validation = evaluate(state.network, self.data.validation, self.data, self.device)
                state.epoch, state.optimizer = epoch + 1, optimizer.state_dict()
                state.row["seconds"] = state.row.get("seconds", 0.0) + time.perf_counter() - begin
                yield Event("epoch", {
                    **number, "loss": result.loss, "accuracy": result.accuracy, "lr": result.lr,
                    "validation_accuracy": validation.accuracy,
                    "images_per_second": result.images_per_second, "seconds": result.seconds,
                }, payload=self._snapshot)  # fmt: skip

    def _learning_from_teacher(self) -> Loss:
        settings = self.spec.distill_after(self.spec.step[self.state.step])
        if not self.state.teacher or not settings.weight:
            return cross_entropy
        return learning_from(place(Checkpoint(**self.state.teacher).build(), self.device), settings, self.device)

    def _close_iteration(self) -> Iterator[Event]:
        """Measure and profile what the iteration made, report its row, and decide how to go on."""
        state, begin = self.state, time.perf_counter()
        distributed.check_same(state.network)
        test, validation = self._measure("test"), self._measure("validation")
        yield from self._profile()
        verified = yield from self.measuring.verified(state, self.graph)
        made = state.checkpoint(self.spec.model)
        row = {
            "iteration": state.iteration,
            "layers_trimmed": state.row.get("layers_trimmed", []),
            "accuracy_initial": state.row.get("accuracy_initial"),
            **self.measuring.row(state, self.graph, made, test, validation),
            **verified,
            "seconds": state.row.get("seconds", 0.0) + time.perf_counter() - begin,
        }
        before, state.spent, state.row = state.spent, state.spent + state.epoch, {}
        state.phase, state.epoch = "cut", 0
        state.optimizer = state.optimizer if self.spec.retrain.keep_momentum else None
        if state.iteration and validation.accuracy < self.spec.stop.min_accuracy:
            # The network before this cut is the result; the control must have its widths, so it is what goes on.
            fell = f"{validation.accuracy:.2%} in iteration {state.iteration}"
            self._finish(f"validation accuracy fell to {fell}, below min_accuracy {self.spec.stop.min_accuracy:.2%}")
            state.spent = before
            if state.good is not None:
                good = Checkpoint(**state.good)
                state.network, state.origins = place(good.build(), self.device), dict(good.origins)
                state.units, state.sparse = dict(good.units), list(good.sparse)
        else:
            state.result = state.iteration
            state.teacher = vars(made) if not state.iteration and self.spec.has_teacher else state.teacher
            state.good = vars(made) if self.spec.control.scratch and self.spec.stop.min_accuracy else None
        row["result"], row["activations"] = state.result, state.activations
        yield Event("iteration", row, payload=lambda: (made, self._snapshot()))

    def _finish(self, reason: str) -> None:
        control = self.spec.control.scratch and self.state.iteration > 0
        self.state.ended, self.state.phase, self.state.epoch = reason, "control" if control else "done", 0

    def _profile(self) -> Iterator[Event]:
        self.seen, self.units = yield from self.measuring.profile(self.state, self.graph)

    def _measure(self, split: str) -> Measure:
        return self.measuring.accuracy(self.state, split)

    def _measured_so_far(self, phase: str, seen: int, total: int, rate: float) -> Event:
        number = {"phase": phase, "iteration": self.state.iteration, "epoch": None, "epochs": None}
        return self._progress({**number, "step": seen, "steps": total}, self.state.epoch, rate)

    # --- beginnings ---

    def _base_architecture(self) -> torch.nn.Module:
        """At full widths with new weights; its activations are those of the network, so that only cuts make times
        differ."""
        network = place(models.build(self.spec.model, **self.state.arguments), self.device)
        return sharpened.to_relu(network) if self.state.activations else network

    def _started(self) -> Event:
        spec, data = self.spec, self.data
        return Event("started", {
            "model": spec.model, "data": spec.data, "seed": spec.seed, "resumed": self.resumed,
            "classes": list(data.classes),
            "splits": {name: len(getattr(data, name)) for name in ("train", "validation", "test")},
            "image": list(data.example_shape), "device": self._device_in_words(), "torch": torch.__version__,
            "python": platform.python_version(), "trimcore": __version__,
            "iterations": spec.iterations, "epochs": self._epochs_in_all(), **self.state.base,
        })  # fmt: skip

    def _device_in_words(self) -> str:
        processes = distributed.world()
        return describe(self.device) + (f", {processes} processes" if processes > 1 else "")

    def _epochs_in_all(self) -> int:
        epochs = self.spec.base_epochs + self.state.convert_epochs + self.spec.retrain_epochs
        return epochs * 2 + self.state.inherited if self.spec.control.scratch and self.spec.step else epochs

    def _progress(self, values: dict[str, Any], epochs_done: float, rate: float) -> Event:
        whole, before = self._epochs_in_all() or 1, self.state.spent
        places = {"fraction": min(1.0, (before + epochs_done) / whole), "iteration_end": None}
        if values["phase"] != "control":  # which belongs to no iteration
            epochs = (values["epochs"] or epochs_done) + (self.state.convert_epochs if values["phase"] == "base" else 0)
            places["iteration_end"] = min(1.0, (before + epochs) / whole)
        return Event("progress", {**values, **places, "images_per_second": rate}, recorded=False)

    def _snapshot(self) -> dict[str, Any]:
        return self.state.snapshot(self.spec.model)
