"""The events that a run records are valid; with a field missing or of the wrong type they are not."""

import json

import pytest

from trimcore import runs
from trimcore.runs import event_schema
from trimcore.runs.event_schema import KINDS, is_valid
from trimcore.training.loop import trim

NUMBERS = [True, "1", None, [], {}, float("nan"), float("inf"), 10**400]


@pytest.fixture(scope="module")
def recorded(make_spec) -> list[dict]:
    """Recorded events of every kind, as read back: cuts, units, weights, a control, a verification, a conversion."""
    units = make_spec(
        model="lenet5-maxout", options={"width": 16, "k": 4}, control={"scratch": True},
        step=[{"layers": ["conv2"], "rule": "fraction", "value": 0.3, "layer": {}},
              {"layers": ["fc1"], "rule": "maxout", "value": 1}, {"layers": ["all"], "rule": "sparsity", "value": 0.5}],
    )  # fmt: skip
    grouped = make_spec(convert={"to": "maxout", "k": 4, "epochs": 1}, step=[], image_size=28)
    verified = make_spec(data="mnist-5k", image_size=0, base={"epochs": 0}, step=[], verify={"pairs": "test"})
    events = [event for spec in (units, grouped, verified) for event in trim(spec) if event.recorded]
    return [json.loads(json.dumps({"kind": event.kind, **event.data})) for event in events]


def test_recorded_events_are_valid(recorded):
    assert {event["kind"] for event in recorded} == set(KINDS)
    assert [event["kind"] for event in recorded if not is_valid(event)] == []


def test_events_with_a_missing_or_wrong_field_are_invalid(recorded):
    for kind, required in {
        "iteration": ["iteration", "parameters", "compression", "macs_ratio", "accuracy_final"],
        "epoch": ["iteration", "epoch", "loss", "validation_accuracy", "seconds"],
        "initial": ["iteration", "accuracy"], "control": ["accuracy", "epochs"], "profiled": ["iteration"],
        "pruned": ["iteration"], "weights": ["iteration"], "verified": ["iteration", "accuracy", "count"],
    }.items():  # fmt: skip
        event = next(event for event in recorded if event["kind"] == kind)
        for name in required:
            assert not is_valid({key: value for key, value in event.items() if key != name}), f"{kind} without {name}"
            for value in NUMBERS:
                assert not is_valid({**event, name: value}), f"{kind} with {name} = {value!r}"
    for event in recorded:
        if event["kind"] in ("profiled", "pruned", "weights"):
            for broken in ([], "x", {"conv1": []}, {"conv1": {}}):
                assert not is_valid({**event, "layers": broken})


def test_unknown_fields_and_kinds_are_valid(recorded):
    assert all(is_valid({**event, "from_the_future": [1, {"a": None}]}) for event in recorded)
    assert is_valid({"kind": "from_the_future", "iteration": "seven"})
    for broken in (None, 5, [], {}, {"kind": 5}, {"kind": None}):
        assert not is_valid(broken)


def test_invalid_events_are_not_read(tmp_path):
    lines = [{"seq": 1, "kind": "note", "text": "a"}, {"seq": 2, "kind": "note"},
             {"seq": 3, "kind": "note", "text": "b"}]  # fmt: skip
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [event["seq"] for event in runs.read_events(tmp_path)] == [1, 3]


def test_numbers():
    assert all(map(event_schema.number, (0, -1.5, 10**15)))
    assert not any(map(event_schema.number, (*NUMBERS, 10**16)))
    assert event_schema.count(0)
    assert not any(map(event_schema.count, (-1, 0.0, True)))
