"""The accuracies of a plan before any retraining, compared with those of the real loop."""

import threading
from pathlib import Path

import pytest
import torch

from dashboard.plan import measurement, origin, preview, rehearsal
from dashboard.session import run_network
from dashboard.session.draft_network import graph_of
from tests.dashboard.drafts import SMALLER_STEP, draft_from, plan_from
from trimcore import runs, spec, tables
from trimcore.planning.rehearsal import carried_out
from trimcore.planning.selection import choose_neurons
from trimcore.training.loop import trim


def initial(run: Path, asked: dict) -> list[float]:
    """The validation accuracy that the real loop reports after each cut, before retraining."""
    events = trim(spec.parse({**asked, "parent": {"run": run.name, "iteration": 0}}), runs=run.parent)
    return [event.data["validation_accuracy"] for event in events if event.kind == "initial"]


@pytest.mark.parametrize(("name", "step"), [
    ("lenet5", {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.6}),
    ("lenet5", {"layers": ["all"], "rule": "mean+std", "value": 0.5}),
    ("lenet5", {"layers": ["fc1"], "rule": "fraction", "value": 0.8, "criterion": "taylor"}),
    ("lenet5", {"layers": ["fc1", "conv1"], "rule": "fraction", "value": 0.7, "criterion": "random"}),
    ("lenet5", {"layers": ["all"], "rule": "sparsity", "value": 0.9}),
    ("lenet5-maxout", {"layers": ["fc1"], "rule": "maxout", "value": 2}),
    ("lenet5-maxout", {"layers": ["conv2", "fc1"], "rule": "fraction", "value": 0.6}),
])  # fmt: skip
def test_the_first_accuracy_equals_that_of_the_loop_before_retraining(copy_of, name, step):
    own = copy_of(name)
    asked = draft_from(own, step)
    found = rehearsal.rehearse(asked, (own.name, 0))
    event = tables.latest(list(runs.read_events(own)), "iteration")[0]
    assert [found.first] == initial(own, asked)
    assert (found.now, found.all_at_once, found.iterations) == (event["validation_accuracy"], found.first, 1)


@pytest.mark.parametrize("criterion", ["apoz", "taylor", "random"])
def test_the_rule_smaller_gives_the_accuracy_of_the_loop(copy_of, criterion):
    own = copy_of()
    asked = draft_from(own, {**SMALLER_STEP, "iterations": 1, "criterion": criterion})
    assert [rehearsal.rehearse(asked, (own.name, 0)).first] == initial(own, asked)


@pytest.mark.parametrize(("name", "steps"), [
    ("lenet5", [{"layers": ["conv2"], "rule": "fraction", "value": 0.3, "criterion": "l1", "iterations": 2},
                {"layers": ["all"], "rule": "sparsity", "value": 0.7, "iterations": 2},
                {"layers": ["fc1"], "rule": "keep", "value": 40, "criterion": "random"}]),
    ("lenet5-maxout", [{"layers": ["fc1"], "rule": "maxout", "value": 1, "criterion": "l2", "iterations": 3},
                       {"layers": ["fc1"], "rule": "fraction", "value": 0.5, "criterion": "l1"}]),
])  # fmt: skip
def test_all_cuts_at_once_equal_a_run_without_retraining(copy_of, name, steps):
    """With scores that do not depend on the profile."""
    own = copy_of(name)
    asked = draft_from(own, *steps)
    accuracies, found = initial(own, asked), rehearsal.rehearse(asked, (own.name, 0))
    assert (found.iterations, found.first, found.all_at_once) == (len(accuracies), accuracies[0], accuracies[-1])


@pytest.mark.parametrize(("name", "steps"), [
    ("lenet5", [{"layers": ["conv2", "fc1"], "rule": "mean+std", "value": 0.7, "iterations": 3},
                {"layers": ["conv1"], "rule": "fraction", "value": 0.3, "iterations": 2}]),
    ("lenet5-maxout", [{"layers": ["fc1"], "rule": "maxout", "value": 1, "iterations": 2},
                       {"layers": ["conv2"], "rule": "fraction", "value": 0.4, "iterations": 2},
                       {"layers": ["fc1"], "rule": "maxout", "value": 1}]),
])  # fmt: skip
def test_the_widths_of_every_iteration_equal_the_preview(copy_of, name, steps):
    own = copy_of(name)
    draft, start = draft_from(own, *steps), (own.name, 0)
    subject, wanted = run_network.subject(*start), spec.parse(draft)
    networks = carried_out(subject.graph, wanted.step, measurement.measured(start, subject, wanted), wanted.seed)
    found = [{n: layer.width for n, layer in graph.layers.items()} for graph in networks]
    seen = origin.profile_for_plan(draft, start)
    assert found == [stage.cost.widths for stage in preview.stages(draft, graph_of(draft), seen)[1:]]


def test_manual_decisions_use_base_indices_after_a_cut(copy_of):
    own = copy_of()
    first = {"layers": ["fc1"], "rule": "keep", "value": 300}
    subject = run_network.subject(own.name, 0)
    wanted = spec.parse(draft_from(own, first))
    measured = measurement.measured((own.name, 0), subject, wanted)
    removed = choose_neurons(wanted.step[0], subject.graph, measured.seen, {}, measured.origins, 0)["fc1"]
    left = sorted(set(range(500)) - set(removed), key=lambda i: (float(measured.seen["fc1"].apoz[i]), -i))
    named = {"fc1": [removed[0], left[-1]]}  # the first of these has already been removed
    second = {"layers": ["fc1"], "rule": "keep", "value": 1, "never_cut": named}
    *_, last = carried_out(subject.graph, spec.parse(draft_from(own, first, second)).step, measured, 0)
    base = subject.graph.model.state_dict()["fc1.bias"]
    assert torch.equal(last.model.state_dict()["fc1.bias"], base[sorted({left[0], left[-1]})])


def test_the_inspected_network_is_not_modified(copy_of):
    own = copy_of()
    subject = run_network.subject(own.name, 0)
    before = {name: tensor.clone() for name, tensor in subject.graph.model.state_dict().items()}
    plan_from(own, {"layers": ["all"], "rule": "sparsity", "value": 0.9},
              {"layers": ["all"], "rule": "fraction", "value": 0.5})  # fmt: skip
    after = run_network.subject(own.name, 0).graph.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_every_plan_is_measured_once(copy_of, monkeypatch):
    own, calls = copy_of(), []
    real = rehearsal.evaluate
    monkeypatch.setattr(rehearsal, "evaluate", lambda *args: calls.append(1) or real(*args))
    app = plan_from(own, {"layers": ["fc1"], "rule": "fraction", "value": 0.5})
    assert len(calls) == 2, "now, and after the cut"
    app.run()
    assert len(calls) == 2
    app.slider[0].set_value(0.6).run()
    assert not app.exception
    assert len(calls) == 4


def test_a_rerun_of_the_page_cancels_the_measurement(monkeypatch):
    started, cancelled = threading.Event(), []
    monkeypatch.setattr(rehearsal.run_network, "subject", lambda *start: None)
    monkeypatch.setattr(rehearsal, "_rehearsal_key", lambda *given: "of a test")

    def endless(start, subject, wanted, stop):
        started.set()
        cancelled.append(stop.wait(60))

    monkeypatch.setattr(rehearsal, "_measure", endless)

    def heartbeat() -> None:
        if started.is_set():
            raise KeyboardInterrupt("the page is rerun")

    with pytest.raises(KeyboardInterrupt):
        rehearsal.rehearse({"step": []}, ("a", 0), heartbeat)
    rehearsal._worker().submit(lambda: None).result(60)  # the thread is free again
    assert cancelled == [True]
    assert "of a test" not in measurement.known
