"""Record a training loop of one's own, in any Python program, as a run that the dashboard shows like any other."""

import math
import os
import platform
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from trimcore import __version__, spec
from trimcore import runs as folders
from trimcore.compute.device import describe
from trimcore.errors import RunError, first_line
from trimcore.files.checkpoint import Checkpoint
from trimcore.graph.channel_graph import ChannelGraph
from trimcore.graph.costs import cost_of
from trimcore.graph.heads import lost_heads
from trimcore.graph.removal import Cut, kept_neurons
from trimcore.graph.summary import trimmable_text
from trimcore.graph.tracing import trace
from trimcore.jobs import on_end
from trimcore.jobs.lines import log_line
from trimcore.jobs.recorder import Recorder
from trimcore.planning.plan import LayerPlan, Plan
from trimcore.runs.events import Event
from trimcore.runs.requests import INTERRUPTED
from trimcore.scoring import apoz
from trimcore.scoring.apoz import Profile
from trimcore.surgery import cut as surgery
from trimcore.surgery.reconstruction import widths_of
from trimcore.system import logs, own_code, processes
from trimcore.tables.metric import ACCURACY, Metric
from trimcore.training.measurement import profiled_layers


class StopRequested(Exception):
    """Someone pressed Stop or Finish on the page Run. It ends the `with` block of a recording, and the run."""

    def __init__(self, state: str):
        super().__init__(f"{state} on request")
        self.state = state


class Recording:
    """A run that a program of the user's own carries out: it profiles, plans, prunes and trains as it likes, and tells
    the recording. Use it as a context manager; an error inside the block ends the run as failed.

    `network` is traced with `example`, as by `trace`, and trimmed. It may be a part of the one that is trained, such
    as the backbone of a detector, which is then `whole`. `metric` is the headline metric. `model` (by default the
    network's class), `data` and `name` are shown; Compare takes runs with the same `model` and `data` for comparable.
    `iterations` is the number of cuts to come, for the progress bar.

    >>> with tc.record(network, example, metric=tc.Metric("mAP")) as run:              # doctest: +SKIP
    ...     run.final(test=evaluate(network))
    ...     plan = tc.plan(run.profile(loader), tc.MeanPlusStd(1))
    ...     network = run.prune(plan)
    ...     run.initial(test=evaluate(network))
    ...     for epoch in range(3):
    ...         run.epoch(loss=train(network), validation=evaluate(network))
    ...     run.final(test=evaluate(network))

    Raises NotTrimmable as `trace` does, and RunError if the run folder cannot be written.
    """

    def __init__(
        self, network: nn.Module, example: Any, *, whole: nn.Module | None = None, runs: str | Path | None = None,
        metric: Metric = ACCURACY, model: str = "", data: str = "", name: str = "", iterations: int = 0,
    ):  # fmt: skip
        self.graph: ChannelGraph = trace(network, example)
        self.example, self.metric, self.iteration, self.iterations = example, metric, 0, iterations
        self._whole = whole
        self._outside = _parameters(whole) - _parameters(network) if whole is not None else 0
        self._origins = {name: list(range(width)) for name, width in widths_of(network).items()}
        self._epochs = self._phase_epoch = 0
        self._initial: float | None = None
        self._result = 0  # the last iteration that has ended
        self._trimmed: list[str] = []
        self._begin = self._epoch_begin = time.perf_counter()
        cost = cost_of(self.graph)
        self._base = {"parameters": cost.parameters + self._outside, "macs": cost.macs}
        self.model, self.data, self.name = model or type(whole or network).__name__, data or "data of its own", name
        values = {"model": own_code.object_name(self.model), "data": own_code.object_name(data or "data"),
                  "task": own_code.OWN_LOOP, "name": name}  # fmt: skip
        text = spec.dumps(spec.parse({**values, "base": {"epochs": 0}}))
        self.folder = folders.create(folders.runs_folder(runs), self.model, text)
        folders.update_status(
            self.folder, state="running", trainer=processes.identity(), own_loop=True, device_key="cpu",
            working_folder=os.getcwd(), heartbeat=time.time(),
        )  # fmt: skip
        self._recorder = Recorder(self.folder)

    @property
    def network(self) -> nn.Module:
        """The network as it is now, after the cuts."""
        return self.graph.model

    # --- what the program tells ---

    def profile(self, loader: Iterable[Any], **how: Any) -> Profile:
        """Count the zeros of every layer, as `profile` does, and record them."""
        return self.profiled(apoz.profile(self.network, loader, graph=self.graph, **how))

    def profiled(self, profile: Profile) -> Profile:
        """Record a profile of the network as it is now."""
        layers = profiled_layers(profile, self.graph, self._origins)
        self._record("profiled", iteration=self.iteration, examples=profile.examples, seconds=profile.seconds,
                     layers=layers, units={})  # fmt: skip
        return profile

    def prune(self, plan: Plan | Cut) -> nn.Module:
        """Cut the neurons of a plan, and begin the next iteration. Returns the smaller network, whose weights are new
        tensors: make a new optimizer for them. Raises NotTrimmable as `surgery.prune` does."""
        chosen = plan if isinstance(plan, Plan) else Plan({name: LayerPlan(tuple(own)) for name, own in plan.items()})
        kept, smaller = kept_neurons(self.graph, chosen), surgery.cut(self.graph, chosen)
        layers = {name: self._entry(name, own) for name, own in chosen.layers.items()}
        self._origins = {name: [self._origins[name][i] for i in own] for name, own in kept.items()}
        self.graph, self.iteration, self._phase_epoch, self._initial = smaller, self.iteration + 1, 0, None
        self._trimmed = [name for name, own in chosen.layers.items() if own.cut]
        cost = cost_of(smaller)
        self._record("pruned", iteration=self.iteration, step=0, layers=layers, widths=cost.widths, k={},
                     parameters=cost.parameters + self._outside, macs=cost.macs)  # fmt: skip
        return smaller.model

    def initial(self, test: float, validation: float | None = None) -> None:
        """Record the metric after a cut, before any training."""
        self._initial = float(test)
        self._record("initial", iteration=self.iteration, loss=None,
                     **self._values(accuracy=test, validation_accuracy=validation))  # fmt: skip

    def step(self, done: int, of: int) -> None:
        """Show how far the current epoch is: `done` of `of` batches. Call it as often as you like."""
        self._record("progress", iteration=self.iteration, epoch=self._phase_epoch + 1, epochs=None, phase=self._phase,
                     step=done, steps=of, fraction=self._fraction, iteration_end=None, images_per_second=0.0,
                     recorded=False)  # fmt: skip
        self._follow("stop", "pause")

    def epoch(self, loss: float, validation: float, *, train: float | None = None, lr: float = 0.0) -> None:
        """Record an epoch of training: its loss, and the metric on the validation and the training examples."""
        now, loss = time.perf_counter(), float(loss)
        if not math.isfinite(loss):
            raise RunError(f"the loss is {loss} in epoch {self._phase_epoch + 1}: training has diverged")
        values = self._values(accuracy=train, validation_accuracy=validation)
        self._epochs, self._phase_epoch = self._epochs + 1, self._phase_epoch + 1
        self._record("epoch", iteration=self.iteration, phase=self._phase, epoch=self._phase_epoch,
                     epochs=self._phase_epoch, loss=loss, lr=lr, images_per_second=0.0,
                     seconds=now - self._epoch_begin, **values)  # fmt: skip
        self._epoch_begin = now
        self._follow("stop", "pause")

    def final(self, test: float, validation: float | None = None, **more: float) -> None:
        """End the iteration: record its metric, and save its weights. `more` are further metrics on the test split."""
        cost, whole = cost_of(self.graph), self._whole or self.network
        parameters, now = cost.parameters + self._outside, time.perf_counter()
        row = {
            "iteration": self.iteration, "layers_trimmed": self._trimmed, "widths": cost.widths, "k": {},
            "parameters": parameters, "compression": self._base["parameters"] / parameters,
            "macs": cost.macs, "macs_ratio": self._base["macs"] / max(cost.macs, 1),
            "nonzero_parameters": int(sum(torch.count_nonzero(p) for p in whole.parameters())), "loss_final": None,
            "seconds": now - self._begin, "result": self.iteration, "activations": "",
            **self._values(accuracy_initial=self._initial, accuracy_final=float(test), validation_accuracy=validation),
            **({"metrics": {"test": {self.metric.name: float(test), **_floats(more)}}} if more else {}),
        }  # fmt: skip
        self._begin, self._result = now, self.iteration
        self._record("iteration", payload=lambda: (self._checkpoint(whole), None), **row)
        self._follow("stop", "pause", "finish")

    def note(self, text: str) -> None:
        """Record a line for the log."""
        self._record("note", text=text)

    # --- the run ---

    def __enter__(self) -> Self:
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        self._record("started", model=self.model, data=self.data, seed=0, resumed=False, classes=[], splits={},
                     image=[], task="a loop of its own", metric=self.metric.recorded(), found=[],
                     device=describe(device, self._precision), torch=torch.__version__,
                     python=platform.python_version(), trimcore=__version__, iterations=self.iterations, epochs=0,
                     trimmable=trimmable_text(self.graph), parameters=self._base["parameters"],
                     macs=self._base["macs"])  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        state, reason = "finished", "the program has come to the end of its loop"
        if isinstance(error, StopRequested):
            state, reason = error.state, str(error)
        elif isinstance(error, KeyboardInterrupt):
            state, reason = "stopped", INTERRUPTED
        elif error is not None:
            state, reason = "failed", f"{type(error).__name__}: {first_line(error)}"
        if state == "finished":
            self._record("ended", reason=reason, result=self._result)
        self._recorder.close()
        with logs.logging_to(self.folder / "log.txt"):
            on_end.end(self.folder, state, reason, int(state == "failed"))
        return isinstance(error, StopRequested)

    # --- details ---

    @property
    def _precision(self) -> str:
        """The type of the weights: a recording does not know in which precision the program computes."""
        dtype = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), torch.float32)
        return {torch.float32: "fp32", torch.bfloat16: "bf16"}.get(dtype, str(dtype).removeprefix("torch."))

    @property
    def _phase(self) -> str:
        return "retrain" if self.iteration else "base"

    @property
    def _fraction(self) -> float:
        return min(1.0, self.iteration / (self.iterations + 1)) if self.iterations else 0.0

    def _values(self, **values: float | None) -> dict[str, Any]:
        """The fields of an event. Values may be tensors. Raises RunError for one that is not finite."""
        plain = {key: None if value is None else float(value) for key, value in values.items()}
        for key, value in plain.items():
            if value is not None and not math.isfinite(value):
                raise RunError(f"{key.replace('accuracy', self.metric.name)} is {value}: a metric must be finite")
        return self.metric.fields(plain)

    def _entry(self, name: str, own: LayerPlan) -> Mapping[str, Any]:
        heads = self.graph.heads
        return {
            "rule": own.rule, "criterion": "", "threshold": own.threshold, "cut": list(own.cut),
            "original": [self._origins[name][i] for i in own.cut],
            **({"heads": len(lost_heads(heads[name], own.cut))} if name in heads else {}),
        }  # fmt: skip

    def _record(self, kind: str, payload: Any = None, recorded: bool = True, **data: Any) -> None:
        event = Event(kind, data, payload, recorded)
        try:
            self._recorder.record(event)
            if recorded:
                with logs.logging_to(self.folder / "log.txt"):
                    logs.LOG.info(log_line(event, self.metric))
            folders.update_status(self.folder, heartbeat=time.time(), fraction=self._fraction)
        except OSError as error:
            raise RunError(f"cannot record in {self.folder}: {error.strerror or error}") from None

    def _follow(self, *requests: str) -> None:
        """End the block if the page asks for it. A loop of one's own cannot be paused: it is stopped."""
        if (asked := folders.requested(self.folder)) in requests:
            raise StopRequested("finished" if asked == "finish" else "stopped")

    def _checkpoint(self, whole: nn.Module) -> Checkpoint:
        state = {name: tensor.detach().cpu().clone() for name, tensor in whole.state_dict().items()}
        arguments = {"num_classes": 1, "in_channels": 1, "image_size": 1}  # of a builder, which there is none of
        return Checkpoint(
            own_code.object_name(self.model), arguments, widths_of(whole), state, dict(self._origins), dict(self._base),
            self.iteration, self._epochs,
        )  # fmt: skip


def _floats(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
