"""The loop of Network Trimming (Hu et al. 2016, section 3.2): profile, prune, retrain from the kept weights, again.

`trim` is a generator: it computes and yields events, and writes nothing. At each epoch and iteration event its state
can be taken (the event's payload) and given back as `resume`; it then goes on as if it had never stopped.
"""

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import torch

from trimcore import criteria, models, smooth
from trimcore.apoz import Profile, passes, profiling
from trimcore.batches import Batches
from trimcore.checkpoint import Checkpoint
from trimcore.checks import check_scores, check_steps, data_for
from trimcore.costs import cost_of, nonzero_parameters
from trimcore.data import Data
from trimcore.device import describe, has_fast_bf16, resolve
from trimcore.events import Event
from trimcore.latency import AgainstBase
from trimcore.momentum import carry_over
from trimcore.planning import Plan, make_rule, plan
from trimcore.seeds import derive_seed
from trimcore.sparing import sparing_the_last
from trimcore.spec import Spec, Step, Training
from trimcore.state import first_state, restore
from trimcore.surgery import cut, kept_neurons
from trimcore.tracing import trace
from trimcore.train import (
    EVALUATION_BATCH,
    Batch,
    evaluate,
    make_optimizer,
    prepare,
    train_epoch,
)  # fmt: skip


def trim(
    spec: Spec, *, runs: Path | None = None, data: Data | None = None, resume: dict | None = None
) -> Iterator[Event]:
    """Carry out a spec and yield what happens. See `events` for the kinds.

    `runs` is the folder where a parent run is looked up; `data` may be given when it is loaded already; `resume` is a
    snapshot from an earlier event. Raises TrimError (and its kinds) for whatever the user can mend.
    """
    yield from Loop(spec, runs, data, resume).run()


class Loop:
    """The spec, the data and the device that the phases share; `state` is what moves."""

    def __init__(self, spec: Spec, runs: Path | None, data: Data | None, resume: dict | None):
        self.spec, self.device = spec, resolve(spec.device)
        self.data = data or data_for(spec)
        self.resumed = resume is not None
        self.state = restore(resume) if resume else first_state(spec, self.data, runs)
        prepare(self.state.network, self.device)
        self.example = torch.zeros(1, *self.data.example_shape, device=self.device)
        check_scores(spec, self.state.network, self.example, self.data.num_classes)
        self.graph = trace(self.state.network, self.example)
        if not self.state.base:
            base = cost_of(self.graph)
            self.state.base = {"parameters": base.parameters, "macs": base.macs}
        check_steps(spec, self.graph, self.state.origins, self.state.arguments)
        self.seen: Profile | None = None  # the profile of the network as it is
        self.timed = AgainstBase(self._base_architecture, self.example)

    def run(self) -> Iterator[Event]:
        yield self._started()
        for text in self.data.skipped[:1]:
            yield Event("note", {"text": f"{len(self.data.skipped)} unreadable images are left out, {text} the first"})
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
        state = self.state
        kinds = " and ".join(dict.fromkeys(smooth.smooth_modules(state.network).values()))
        measured, epochs = self._measure("test"), state.convert_epochs
        state.phase, state.spent, state.epoch, state.optimizer = "convert", state.spent + state.epoch, 0, None
        over = f"{epochs} epoch{'s' if epochs > 1 else ''}"
        text = f"test accuracy {measured.accuracy:.2%} with {kinds}; converting to ReLU over {over}"
        return Event("note", {"text": text}, payload=self._snapshot)

    def _convert(self) -> Iterator[Event]:
        """Train on while the activations turn into ReLUs, then exchange them: from here on zeros are true zeros."""
        network, settings = smooth.sharpen(self.state.network, 1.0), self.spec.convert
        yield from self._train(
            settings, self.state.convert_epochs, "convert",
            before_step=lambda step, steps: smooth.set_sharpness(network, smooth.sharpness_at(step, steps)),
        )  # fmt: skip
        smooth.to_relu(network)
        self.state.activations = "relu"
        self.graph = trace(network, self.example)
        yield from self._close_iteration()

    def _cut(self) -> Iterator[Event]:
        """Choose and remove neurons, then measure. Steps whose rule finds nothing are passed over."""
        state = self.state
        if self.seen is None:
            yield from self._profile()  # after a resume
        while state.step < len(self.spec.step):
            step = self.spec.step[state.step]
            if state.done < step.iterations:
                chosen = self._choose(step)
                if chosen.total:
                    break
                text = f"step {state.step + 1}: nothing more to remove after iteration {state.iteration}"
                yield Event("note", {"text": text})
            state.step, state.done = state.step + 1, 0
        else:
            self._finish("all steps are done" if self.spec.step else "the base network is trained and profiled")
            return
        started = time.perf_counter()
        kept = kept_neurons(self.graph, chosen)
        details = self._describe(step, chosen)
        smaller = cut(self.graph, chosen)
        state.optimizer = self._carried_optimizer(chosen, smaller.model)
        state.network, self.graph = smaller.model, smaller
        state.origins = {name: [state.origins[name][i] for i in kept[name]] for name in kept}
        state.iteration, state.done = state.iteration + 1, state.done + 1
        state.phase, state.epoch = "retrain", 0
        cost = cost_of(self.graph)
        number = {"iteration": state.iteration}
        yield Event("pruned", {
            **number, "step": state.step, "layers": details, "widths": cost.widths,
            "parameters": cost.parameters, "macs": cost.macs,
        })  # fmt: skip
        test, validation = self._measure("test"), self._measure("validation")
        state.row = {
            "layers_trimmed": [name for name, neurons in chosen.items() if neurons],
            "accuracy_initial": test.accuracy, "seconds": time.perf_counter() - started,
        }  # fmt: skip
        measured = {"accuracy": test.accuracy, "validation_accuracy": validation.accuracy, "loss": test.loss}
        yield Event("initial", {**number, **measured}, payload=self._snapshot)

    def _carried_optimizer(self, chosen: Plan, small: torch.nn.Module) -> dict | None:
        """Where the spec wants it, the momentum of the training before, for the weights that are kept."""
        if self.state.optimizer is None:
            return None
        before = make_optimizer(self.state.network, self.spec.retrain)
        before.load_state_dict(self.state.optimizer)
        return carry_over(before, self.graph, chosen, small, into=make_optimizer(small, self.spec.retrain)).state_dict()

    def _retrain(self) -> Iterator[Event]:
        yield from self._train(self.spec.retrain, self.spec.retrain.epochs, "retrain")
        yield from self._close_iteration()

    def _control(self) -> Iterator[Event]:
        """New weights at the final widths, with as many epochs as the trimmed network has had."""
        state = self.state
        if state.epoch == 0:
            state.optimizer = None
            torch.manual_seed(derive_seed(self.spec.seed, "control"))
            models.renew(self.spec.model, state.network, **state.arguments)
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
        for epoch in range(state.epoch, epochs):
            number = {"phase": phase, "iteration": state.iteration, "epoch": epoch + 1, "epochs": epochs}
            begin, training = time.perf_counter(), train_epoch(
                state.network, optimizer, self.data, settings, self.device, epoch=epoch, epochs=epochs, seed=seed,
                before_step=before_step,
            )  # fmt: skip
            for result in training:
                if isinstance(result, Batch):
                    rate = result.step * settings.batch_size / (time.perf_counter() - begin)
                    done = epoch + result.step / result.steps
                    yield self._progress({**number, "step": result.step, "steps": result.steps}, done, rate)
            validation = evaluate(state.network, self.data.validation, self.data, self.device)
            state.epoch, state.optimizer = epoch + 1, optimizer.state_dict()
            state.row["seconds"] = state.row.get("seconds", 0.0) + time.perf_counter() - begin
            yield Event("epoch", {
                **number, "loss": result.loss, "accuracy": result.accuracy, "validation_accuracy": validation.accuracy,
                "lr": result.lr, "images_per_second": result.images_per_second, "seconds": result.seconds,
            }, payload=self._snapshot)  # fmt: skip

    def _close_iteration(self) -> Iterator[Event]:
        """Measure and profile what the iteration made, report its row, and decide how to go on."""
        state, begin = self.state, time.perf_counter()
        test, validation = self._measure("test"), self._measure("validation")
        yield from self._profile()
        cost = cost_of(self.graph)
        timed = self.timed.columns(state.network, self.spec.retrain.batch_size)
        row = {
            "iteration": state.iteration,
            "layers_trimmed": state.row.get("layers_trimmed", []),
            "widths": cost.widths,
            "parameters": cost.parameters,
            "compression": state.base["parameters"] / cost.parameters,
            "macs": cost.macs,
            "macs_ratio": state.base["macs"] / cost.macs,
            "nonzero_parameters": nonzero_parameters(state.network),
            "accuracy_initial": state.row.get("accuracy_initial"),
            "accuracy_final": test.accuracy,
            "loss_final": test.loss,
            "seconds": state.row.get("seconds", 0.0) + time.perf_counter() - begin,
            "validation_accuracy": validation.accuracy,
            **timed,
        }
        made = state.checkpoint(self.spec.model)
        before, state.spent, state.row = state.spent, state.spent + state.epoch, {}
        state.phase, state.epoch = "cut", 0
        state.optimizer = state.optimizer if self.spec.retrain.keep_momentum else None
        if state.iteration and validation.accuracy < self.spec.stop.min_accuracy:
            # The network before this cut is the result; the control must have its widths, so it is what goes on.
            fell = f"{validation.accuracy:.2%} in iteration {state.iteration}"
            self._finish(f"validation accuracy fell to {fell}, below min_accuracy {self.spec.stop.min_accuracy:.2%}")
            state.spent = before
            if state.good is not None:
                state.network = prepare(Checkpoint(**state.good).build(), self.device)
        else:
            state.result = state.iteration
            state.good = vars(made) if self.spec.control.scratch and self.spec.stop.min_accuracy else None
        row["result"], row["activations"] = state.result, state.activations
        yield Event("iteration", row, payload=lambda: (made, self._snapshot()))

    def _finish(self, reason: str) -> None:
        control = self.spec.control.scratch and self.state.iteration > 0
        self.state.ended, self.state.phase, self.state.epoch = reason, "control" if control else "done", 0

    def _profile(self) -> Iterator[Event]:
        split = self.data.validation.subset(self.spec.profile.examples)
        wanted, tolerance = {step.criterion for step in self.spec.step}, self.spec.profile.tolerance
        # Taylor needs gradients, and so the memory of training.
        batch_size = min(EVALUATION_BATCH, self.spec.retrain.batch_size) if "taylor" in wanted else EVALUATION_BATCH
        loader = Batches(split, self.data, batch_size, self.device, channels_last=has_fast_bf16(self.device))
        counting = profiling(
            self.state.network, loader, tolerance, graph=self.graph,
            mean_activation="mean-activation" in wanted, taylor="taylor" in wanted,
        )  # fmt: skip
        self.seen = yield from self._counted(counting, len(split) * passes(self.graph, tolerance))
        costs = cost_of(self.graph).layers
        layers = {
            name: {
                "kind": layer.kind, "width": layer.width,
                "parameters": costs[name].parameters, "macs": costs[name].macs,
                "tolerance": layer.tolerance, "limits": list(layer.limits),
                "apoz": [round(value, 6) for value in layer.apoz.tolist()], "original": self.state.origins[name],
                **layer.going_together(),
            }
            for name, layer in self.seen.layers.items()
        }  # fmt: skip
        seen = {"examples": self.seen.examples, "seconds": self.seen.seconds}
        yield Event("profiled", {"iteration": self.state.iteration, **seen, "layers": layers})

    def _counted(self, counting: Generator[int, None, Profile], total: int) -> Generator[Event, None, Profile]:
        """Turn the running count of a profile into progress events; returns the profile."""
        while True:
            try:
                seen = next(counting)
            except StopIteration as end:
                return end.value
            number = {"phase": "profile", "iteration": self.state.iteration, "epoch": None, "epochs": None}
            yield self._progress({**number, "step": seen, "steps": total}, self.state.epoch, None)

    def _choose(self, step: Step) -> Plan:
        seed = derive_seed(self.spec.seed, "random", self.state.iteration) % 2**32
        ranking = criteria.scores(step.criterion, self.seen, self.graph, seed)
        names = self._names(step)
        rules = {name: make_rule(step.rule_for(name).rule, step.rule_for(name).value) for name in names}
        chosen = plan(self.seen, rules, names, ranking)
        for name in names:
            now = {original: index for index, original in enumerate(self.state.origins[name])}
            also, never = (
                self.graph.together(name, [now[i] for i in listed.get(name, []) if i in now])
                for listed in (step.also_cut, step.never_cut)
            )
            chosen = chosen.adding(name, also).sparing(name, never)
        return chosen.only(sparing_the_last(self.graph, chosen, lambda name, i: float(ranking[name][i])))

    def _names(self, step: Step) -> list[str]:
        return self.graph.trimmable() if step.layers == ["all"] else step.layers

    def _describe(self, step: Step, chosen: Plan) -> dict[str, dict]:
        return {
            name: {
                "rule": layer.rule, "value": step.rule_for(name).value, "criterion": step.criterion,
                "threshold": layer.threshold, "cut": list(layer.cut),
                "original": [self.state.origins[name][i] for i in layer.cut],
            }
            for name, layer in chosen.layers.items()
        }  # fmt: skip

    def _measure(self, split: str):
        return evaluate(self.state.network, getattr(self.data, split), self.data, self.device)

    # --- beginnings ---

    def _base_architecture(self) -> torch.nn.Module:
        """At full widths with new weights; its activations are those of the network, so that only cuts make times
        differ."""
        network = prepare(models.build(self.spec.model, **self.state.arguments), self.device)
        return smooth.to_relu(network) if self.state.activations else network

    def _started(self) -> Event:
        spec, data = self.spec, self.data
        return Event("started", {
            "model": spec.model, "data": spec.data, "seed": spec.seed, "resumed": self.resumed,
            "classes": list(data.classes),
            "splits": {name: len(getattr(data, name)) for name in ("train", "validation", "test")},
            "image": list(data.example_shape), "device": describe(self.device), "torch": torch.__version__,
            "iterations": spec.iterations, "epochs": self._epochs_in_all(), **self.state.base,
        })  # fmt: skip

    def _epochs_in_all(self) -> int:
        epochs = self.spec.base_epochs + self.state.convert_epochs + self.spec.iterations * self.spec.retrain.epochs
        return epochs * 2 + self.state.inherited if self.spec.control.scratch and self.spec.step else epochs

    def _progress(self, values: dict, epochs_done: float, rate: float | None) -> Event:
        whole = self._epochs_in_all() or 1
        before = self.state.spent
        fraction = min(1.0, (before + epochs_done) / whole)
        return Event("progress", {**values, "fraction": fraction, "images_per_second": rate}, recorded=False)

    def _snapshot(self) -> dict:
        return self.state.snapshot(self.spec.model)
