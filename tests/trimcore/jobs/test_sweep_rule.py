"""When a run of a sweep stops: by courses that are made by hand."""

import json

import pytest

from trimcore import runs
from trimcore.jobs.sweep_rule import Course, Result, behind, course_of, margin, meets, verdict
from trimcore.runs import sweeps
from trimcore.runs.sweeps import Member
from trimcore.tables import Metric

MANY = 1_000_000  # validation examples: no noise
ERROR = Metric("MAE", higher_is_better=False, percent=False)


def course(*results: tuple[int, float], examples=MANY, metric=Metric(), iterations=9, nonzero=None) -> Course:  # noqa: B008
    """A run whose base has 1000 parameters, with these parameters and values of its iterations."""
    made = [Result(number, size, nonzero or size, 1000 / size, 1000 / size, value)
            for number, (size, value) in enumerate([(1000, 0.99), *results])]  # fmt: skip
    return Course(metric, examples, iterations, tuple(made))


def test_a_run_that_is_worse_at_the_same_size_is_behind():
    own, best = course((500, 0.971)), course((500, 0.984))
    assert behind(own, {"x": best}, 0.01) == ("x", 0.971, 0.984)
    assert behind(own, {"x": best}, 0.02) is None, "not by 0.02"
    assert behind(best, {"x": own}, 0.01) is None


def test_it_is_compared_with_the_best_of_the_same_size_or_smaller():
    own = course((500, 0.95))
    others = {"larger": course((700, 0.99)), "smaller": course((800, 0.99), (400, 0.97), (100, 0.6)),
              "as small": course((500, 0.96))}  # fmt: skip
    assert behind(own, others, 0.01) == ("smaller", 0.95, 0.97)
    assert behind(own, {"larger": others["larger"]}, 0.01) is None, "a larger network may be better"
    assert behind(own, {}, 0.01) is None


def test_sizes_within_one_per_cent_are_the_same():
    own = course((1000, 0.9))
    assert behind(own, {"x": course((1010, 0.99))}, 0.01)
    assert behind(own, {"x": course((1011, 0.99))}, 0.01) is None


def test_only_the_last_network_counts_and_not_the_base():
    assert behind(course(), {"x": course((1000, 1.0))}, 0.001) is None, "nothing has been cut"
    assert behind(course((500, 0.90), (400, 0.98)), {"x": course((400, 0.98))}, 0.01) is None, "it has recovered"
    assert behind(course((1000, 0.5)), {"x": course()}, 0.01) is None, "the base of another run has not been retrained"


def test_a_run_that_has_done_all_iterations_is_not_behind():
    assert behind(course((500, 0.5), iterations=1), {"x": course((500, 0.9))}, 0.01) is None
    assert behind(course((500, 0.5), iterations=None), {"x": course((500, 0.9))}, 0.01)


def test_with_a_loss_lower_is_better():
    own, best = course((500, 0.30), metric=ERROR), course((500, 0.20), metric=ERROR)
    assert behind(own, {"x": best, "y": course((500, 0.25), metric=ERROR)}, 0.05) == ("x", 0.30, 0.20)
    assert behind(best, {"x": own}, 0.05) is None
    assert behind(own, {"x": course((500, 0.9))}, 0.01) is None, "another metric"


def test_noise_is_not_behind():
    """500 examples: 2 sqrt((0.9 * 0.1 + 0.93 * 0.07) / 500) = 2 sqrt(0.1551 / 500) = 0.035225."""
    assert margin(Metric(), 500, 0.9, 0.93) == pytest.approx(0.035225, abs=1e-6)
    assert behind(course((500, 0.900), examples=500), {"x": course((500, 0.930))}, 0.01) is None
    assert behind(course((500, 0.890), examples=500), {"x": course((500, 0.930))}, 0.01)  # 0.04 > 0.0361
    assert margin(ERROR, 500, 0.9, 0.93) == 0, "unknown"
    assert margin(Metric(), 0, 0.9, 0.93) == 0
    assert margin(Metric(), 500, -3.0, 7.0) == 0, "values that no share can have"


def test_weights_that_are_zero_make_a_network_smaller():
    own = course((500, 0.9), nonzero=500)
    assert behind(own, {"x": course((500, 0.99), nonzero=100)}, 0.01)
    assert behind(course((500, 0.9), nonzero=100), {"x": course((500, 0.99), nonzero=500)}, 0.01) is None


@pytest.mark.parametrize(("target", "iteration"), [
    ({"accuracy": 0.97, "smaller": 2}, 1), ({"accuracy": 0.96, "smaller": 4}, 2),
    ({"accuracy": 0.97, "smaller": 4}, None),
    ({"accuracy": 0.96, "less_work": 4.0}, 2), ({"accuracy": 0.96, "smaller": 2, "less_work": 5}, None),
    ({"limit": 0.98, "smaller": 2}, 1), ({"accuracy": 0.985, "smaller": 2}, None),
])  # fmt: skip
def test_a_target_is_met_by_value_and_size(target, iteration):
    found = meets(course((500, 0.98), (250, 0.965)), target)
    assert (found and found.iteration) == iteration


def test_the_target_of_a_loss():
    run = course((500, 0.3), (250, 0.2), metric=ERROR)
    assert meets(run, {"limit": 0.3, "smaller": 2}).iteration == 1
    assert meets(run, {"limit": 0.1, "smaller": 2}) is None
    assert meets(run, {"accuracy": 0.9, "smaller": 2}) is None, "it has no accuracy"


# --- with folders ---


def row(iteration: int, parameters: int, value: float) -> dict:
    return {
        "kind": "iteration", "iteration": iteration, "layers_trimmed": [], "widths": {}, "parameters": parameters,
        "compression": 1000 / parameters, "macs": parameters, "macs_ratio": 1000 / parameters,
        "nonzero_parameters": parameters, "accuracy_final": 0.0, "validation_accuracy": value,
    }  # fmt: skip


STARTED = {"kind": "started", "splits": {"validation": MANY}, "iterations": 9}


@pytest.fixture
def member(runs_folder):
    """member(settings, (parameters, value), ...) makes a run of a sweep that stops at 0.01 or at a target."""

    def make(settings: dict, *results: tuple[int, float], **changes):
        folder = runs.create(runs_folder, "lenet5", "")
        events = [STARTED, *(row(number, *result) for number, result in enumerate([(1000, 0.99), *results]))]
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        values = {"point": 0, "settings": settings, "stop_behind": 0.01, **changes}
        sweeps.write_member(folder, Member("s", 4, **values))
        return folder

    return make


def test_the_reason_names_the_run_its_settings_and_both_values(member):
    best = member({"step.value": 1.0}, (500, 0.984))
    own = member({"step.value": 2.0}, (500, 0.971))
    assert verdict(own) == {
        "state": "stopped",
        "reason": f"behind run {best.name} (value 1) at the same size: 97.10% against 98.40%",
    }  # fmt: skip
    assert sweeps.is_by_rule(verdict(own)["reason"])
    assert verdict(best) is None


def test_another_seed_is_no_rival(member):
    member({"step.value": 1.0, "seed": 0}, (500, 0.984))
    own = member({"step.value": 2.0, "seed": 1}, (500, 0.971))
    assert verdict(own) is None
    rival = member({"step.value": 1.0, "seed": 1}, (500, 0.984))
    assert rival.name in verdict(own)["reason"]


def test_runs_of_other_sweeps_and_base_networks_are_no_rivals(member):
    own = member({"step.value": 2.0}, (500, 0.971))
    base = member({}, (500, 0.99), point=None, base=0)
    other = member({"step.value": 1.0}, (500, 0.99))
    sweeps.write_member(other, Member("another", 4, point=0, settings={"step.value": 1.0}))
    assert verdict(own) is None
    assert verdict(base) is None


def test_an_exempt_run_and_one_without_a_rule_go_on(member):
    member({"step.value": 1.0}, (500, 0.984))
    assert verdict(member({"step.value": 2.0}, (500, 0.971), exempt=True)) is None
    assert verdict(member({"step.value": 2.0}, (500, 0.971), stop_behind=0.0)) is None


def test_the_whole_sweep_stops_when_its_target_is_met(member):
    target = {"accuracy": 0.97, "smaller": 2.0}
    waiting = member({"seed": 0}, target=target)
    first = member({"seed": 1}, (500, 0.975), target=target)
    assert verdict(first) == {
        "state": "finished", "reason": "it met the sweep's target: validation accuracy 97.50% at 2.00x smaller",
    }  # fmt: skip
    reason = f"the sweep's target was met by run {first.name} (seed 1): validation accuracy 97.50% at 2.00x smaller"
    assert verdict(waiting) == {"state": "stopped", "reason": reason}
    assert sweeps.is_by_rule(reason)


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "sweep.json").write_text('{"sweep": "s", "poi'),
    lambda folder: (folder / "events.jsonl").write_text('{"kind": "iteration", "iteration": 1, "validation_acc'),
    lambda folder: (folder / "events.jsonl").write_text(json.dumps({**row(1, 500, 0.99), "compression": "5"})),
    lambda folder: (folder / "events.jsonl").write_text(json.dumps({**row(1, 500, 0.99), "validation_accuracy": "1"})),
    lambda folder: (folder / "events.jsonl").write_text(json.dumps({**row(1, 500, 0.99), "parameters": -5})),
    lambda folder: (folder / "events.jsonl").unlink(),
    lambda folder: (folder / "spec.toml").unlink(),
    lambda folder: (folder / "brought.json").write_text("{}"),
])  # fmt: skip
def test_a_damaged_rival_is_ignored(member, damage):
    rival = member({"step.value": 1.0}, (500, 0.984))
    own = member({"step.value": 2.0}, (500, 0.971))
    assert verdict(own)
    damage(rival)
    assert verdict(own) is None


def test_an_iteration_that_was_recorded_again_counts_once_and_one_without_a_value_not_at_all():
    found = course_of([STARTED, row(0, 1000, 0.9), row(1, 500, 0.5), row(1, 500, 0.8),
                       {**row(2, 250, 0.8), "validation_accuracy": None}])  # fmt: skip
    assert [(result.iteration, result.value) for result in found.results] == [(0, 0.9), (1, 0.8)]
    assert (found.examples, found.iterations) == (MANY, 9)
