"""The page Profile: the recorded profile, and what a rule would remove."""

from tests.dashboard.drafts import UNIT_STEPS, unit_draft
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import click, page, texts
from trimcore import runs, spec, tables


def test_profile_shows_the_recorded_apoz(run):
    app = page("profile", run=run.name)
    event = tables.latest(list(runs.read_events(run)), "profiled")[0]
    every = [value for layer in event["layers"].values() for value in layer["apoz"]]
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Mean APoZ"] == f"{sum(every) / len(every):.1%}"
    assert shown["Neurons above 90 %"] == f"{sum(v > 0.9 for v in every)} of 570"
    assert shown["Examples profiled"] == "500"


def test_the_value_changes_the_number_of_neurons_to_remove(run):
    app = page("profile", run=run.name)
    before = app.dataframe[-1].value["to remove"].tolist()
    app.slider[0].set_value(2.0).run()
    after = app.dataframe[-1].value["to remove"].tolist()
    assert sum(after) < sum(before)


def test_plan_with_this_rule_changes_an_existing_plan(run):
    app = page("plan", run=run.name)
    app.switch_page("profile/page.py").run()
    app.segmented_control(key="profile_rule").set_value("absolute").run()
    next(b for b in app.button if b.label == "Plan with this rule").click().run()
    assert not app.exception
    assert {step["rule"] for step in app.session_state.draft["step"]} == {"absolute"}


def test_plan_with_this_rule_adopts_the_network_of_the_run(run):
    app = page("profile", run=run.name, draft=spec.Spec(model="vgg16-small").model_dump(exclude_none=True))
    next(b for b in app.button if b.label == "Plan with this rule").click().run()
    assert not app.exception
    assert app.session_state.draft["model"] == "lenet5"
    assert app.session_state.draft["step"]


def test_the_page_shows_groups_of_neurons(runs_folder):
    widths = [{"conv1": 20, "conv2": 50, "fc1": 500}]
    grouped = fake_run(runs_folder, {}, widths, [0.9], groups=lambda width: [k // 5 for k in range(width)])
    app = page("profile", run=grouped)
    assert "They can only be removed in 100 groups of 5." in texts(select(app, "fc1"))
    app.segmented_control(key="profile_rule").set_value("count").run()
    app.number_input(key="profile_count_value").set_value(12).run()
    assert app.dataframe[-1].value["to remove"].tolist() == [10, 10, 10], "at most 12, in groups of 5"
    alone = fake_run(runs_folder, {}, widths, [0.9])
    assert "groups of" not in texts(page("profile", run=alone))


def select(app, layer: str):
    next(box for box in app.selectbox if box.label == "Layer").set_value(layer).run()
    assert not app.exception
    return app


def test_plan_with_this_rule_keeps_weight_steps_and_unit_rules(units_run):
    inside = {"fc1": {"rule": "maxout", "value": 1.0}}
    steps = [{"layers": ["conv2", "fc1"], "rule": "count", "value": 3, "layer": inside}, UNIT_STEPS[1]]
    app = page("profile", run=units_run.name, draft=unit_draft(steps))
    click(app, "Plan with this rule")
    assert [step["rule"] for step in app.session_state.draft["step"]] == ["mean+std", "sparsity"]
    assert app.session_state.draft["step"][0]["layer"]["fc1"]["rule"] == "maxout"
    assert not app.error
