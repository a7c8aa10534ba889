"""The accuracy before retraining, on the page."""

from dashboard.plan import rehearsal
from dashboard.session import devices
from tests.dashboard.drafts import draft_from, plan_from
from tests.dashboard.pages import click, metrics

SLOW = 1000  # MACs per second; an estimate with which everything waits for a button


def test_the_page_shows_the_accuracies(copy_of):
    own, step = copy_of(), {"layers": ["fc1"], "rule": "fraction", "value": 0.4, "iterations": 2}
    found = rehearsal.rehearse(draft_from(own, step), (own.name, 0))
    shown = metrics(plan_from(own, step))
    labels = ["Now", "After the first cut", "After all cuts"]
    accuracies = (found.now, found.first, found.all_at_once)
    assert [shown[label] for label in labels] == [f"{value:.1%}" for value in accuracies]
    assert labels[2] not in metrics(plan_from(own, {**step, "iterations": 1}))


def test_a_slow_measurement_waits_for_a_button(copy_of, monkeypatch):
    monkeypatch.setitem(devices.MACS_PER_SECOND, "cpu", SLOW)
    app = plan_from(copy_of(), {"layers": ["fc1"], "rule": "fraction", "value": 0.5})
    assert "Now" not in metrics(app)
    click(app, "Measure accuracy before retraining (about ")
    assert "Now" in metrics(app)
    assert "Now" in metrics(app.run()), "it is cached"
