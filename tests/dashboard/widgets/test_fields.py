"""The tolerance for zeros: where it can be chosen, and how the pages show it."""

import json

import pytest

from dashboard.widgets.criteria import LABELS
from tests.dashboard.drafts import plan_page
from tests.dashboard.fakes import run_of
from tests.dashboard.pages import field, page, texts
from trimcore import spec
from trimcore.scoring.criteria import CRITERIA

FIELD = "Zero tolerance, × RMS"


def labels(app) -> list[str]:
    return [widget.label for widget in (*app.number_input, *app.metric)]


def test_the_profile_shows_what_counted_as_zero(leaky, runs_folder):
    app = page("profile", run=run_of(leaky, runs_folder, profile={"tolerance": 0.25}))
    assert "Mean APoZ (near zero)" in labels(app)
    zeros = {name: _after(texts(select(app, name)), "Counted as zero: ") for name in ("0", "2")}
    assert zeros["0"].startswith("|activation| ≤ 0.25 × RMS (0.")
    assert zeros["2"].startswith("exact zeros.")
    summary = app.dataframe[-1].value
    assert summary["counted as zero"].tolist()[1] == "exact zeros"
    assert [list(select(app, name).dataframe[0].value)[2] for name in ("0", "2")] == ["APoZ (near zero)", "APoZ"]


def select(app, layer: str):
    next(box for box in app.selectbox if box.label == "Layer").set_value(layer).run()
    assert not app.exception
    return app


def _after(text: str, words: str) -> str:
    return text.partition(words)[2].splitlines()[0]


def test_an_old_run_counted_exact_zeros(leaky, runs_folder):
    run_id = run_of(leaky, runs_folder, profile={"tolerance": 0.0})
    path = runs_folder / run_id / "events.jsonl"
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for event in events:
        for layer in event["layers"].values() if event["kind"] == "profiled" else []:
            del layer["tolerance"], layer["limits"]
    path.write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
    app = page("profile", run=run_id)
    assert "Mean APoZ" in labels(app)
    assert "Counted as zero: exact zeros." in texts(app)
    assert "counted as zero" not in app.dataframe[-1].value
    for name in ("plan", "run", "report"):
        page(name, run=run_id)


def test_the_tolerance_is_offered_only_if_it_applies(leaky, runs_folder, launched):
    assert FIELD not in labels(plan_page("lenet5"))
    app = plan_page(leaky)
    field(app, FIELD).set_value(0.35).run()
    app.button(key="launch").click().run()
    assert launched[0].profile.tolerance == 0.35


def test_the_first_profile_also_offers_the_tolerance(leaky, runs_folder, launched):
    assert FIELD not in labels(page("profile"))
    app = page("profile", draft=spec.parse({"model": leaky}).model_dump(exclude_none=True))
    field(app, FIELD).set_value(0.2).run()
    next(button for button in app.button if button.label.startswith("Train and profile")).click().run()
    assert launched[0].profile.tolerance == 0.2


def test_planning_for_a_run_adopts_its_tolerance(leaky, runs_folder):
    app = plan_page("lenet5", run=run_of(leaky, runs_folder, profile={"tolerance": 0.4}))
    next(button for button in app.button if button.label == "Plan for this run").click().run()
    assert not app.exception
    assert field(app, FIELD).value == 0.4


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_can_be_chosen(runs_folder, launched, criterion):
    app = plan_page("lenet5")
    choice = next(box for box in app.selectbox if box.label == "Criterion")
    assert choice.options == [LABELS[name] for name in CRITERIA]
    choice.set_value(criterion).run()
    app.button(key="launch").click().run()
    assert launched[0].step[0].criterion == criterion
