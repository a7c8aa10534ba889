"""The sensitivity of each layer: measured, stored and shown."""

import json

import pytest

from dashboard.plan import measurement, sensitivity
from dashboard.session import run_network
from tests.dashboard.drafts import draft_from, plan_from
from tests.dashboard.pages import click
from trimcore import runs, spec
from trimcore.evaluation.masking import one_shot
from trimcore.files import checkpoint
from trimcore.planning.plan import plan
from trimcore.planning.preview import Stage
from trimcore.planning.sensitivity import Point, Sensitivity
from trimcore.spec.rules import Keep


def test_results_are_shown_and_stored(copy_of, monkeypatch):
    own = copy_of()
    app = plan_from(own, {"layers": ["fc1"], "rule": "keep", "value": 250})
    assert not (own / "sensitivity").exists(), "nothing is measured before the button is pressed"
    click(app, "Measure sensitivity (about ")
    (file,) = (own / "sensitivity").iterdir()
    points = json.loads(file.read_text())["points"]
    assert {layer for layer, *_ in points} == {"conv1", "conv2", "fc1"}
    monkeypatch.setattr(sensitivity, "measure", None)
    app = plan_from(own, {"layers": ["fc1"], "rule": "keep", "value": 250})
    shown = next(frame.value for frame in app.dataframe if "accuracy at 50 %" in frame.value)
    half = {layer: accuracy for layer, share, _, accuracy in points if share == 0.5}
    assert dict(zip(shown.layer, shown["accuracy at 50 %"], strict=True)) == half
    subject = run_network.subject(own.name, 0)
    assert half["fc1"] == pytest.approx(_cut_alone(subject, measurement.profile(draft_from(own), subject), "fc1", 250))


def _cut_alone(subject, seen, layer: str, kept: int) -> float:
    """The accuracy after real surgery, on all validation images."""
    return one_shot(subject.graph, plan(seen, Keep(kept), layer), measurement.batches(subject, 0)).accuracy


def test_other_networks_or_settings_are_measured_again(copy_of):
    own = copy_of()
    draft, start, shares = draft_from(own), (own.name, 0), sensitivity.SHARES["quick"]
    found = Sensitivity(4, 0.5, [Point("fc1", 1.0, 500, 0.5)])
    sensitivity._store(draft, start, 0, shares, found)
    assert sensitivity.known(draft, start, 0, shares) == sensitivity.best(draft, start) == found
    assert sensitivity.known(draft, start, 250, shares) is None
    assert sensitivity.known(draft, start, 0, sensitivity.SHARES["full"]) is None
    assert sensitivity.best({**draft, "profile": {**draft["profile"], "tolerance": 0.5}}, start) is None
    path = runs.checkpoint_path(own, 0)
    other = checkpoint.load(path)
    other.state["fc2.bias"] += 1
    checkpoint.save(other, path)
    assert sensitivity.best(draft, start) is None


def test_the_table_of_a_small_example():
    points = [Point("a", 1.0, 8, 0.9), Point("a", 0.75, 6, 0.895), Point("a", 0.5, 4, 0.6), Point("a", 0.25, 2, 0.9),
              Point("b", 1.0, 10, 0.9), Point("b", 0.5, 5, 0.92), Point("b", 0.1, 1, 0.891)]  # fmt: skip
    rows = sensitivity.table(Sensitivity(100, 0.9, points)).values.tolist()
    assert rows == [["a", 0.6, "2 of 8 (25\u00a0%)"], ["b", 0.92, "9 of 10 (90\u00a0%)"]]


def test_kept_shares_count_units():
    class Widths:
        def __init__(self, **widths):
            self.widths = widths

    stages = [Stage(-1, {}, Widths(a=10, b=40, c=40, d=7), {"b": 4, "c": 4}),
              Stage(0, {}, Widths(a=5, b=10, c=20, d=7), {"b": 1, "c": 4})]  # fmt: skip
    assert sensitivity.kept_shares(stages) == {"a": 0.5, "c": 0.5}


def test_images_that_become_square_in_another_way_are_measured_again(monkeypatch):
    monkeypatch.setattr(sensitivity, "_digest", lambda *weights: "same")
    monkeypatch.setattr(sensitivity.measurement, "weights_key", lambda start: ())

    def key(**changes) -> str:
        monkeypatch.setattr(sensitivity.run_reader, "spec_of", lambda run_id: spec.parse(changes))
        return sensitivity._key(spec.Spec().model_dump(), ("run", 0), 100, [0.5])

    assert key() == key(resize="crop"), "what was measured before stays known"
    assert key(resize="pad") != key(resize="stretch") != key()
