"""Plans for networks whose neurons are grouped into units."""

from tests.dashboard.drafts import offered_rules, unit_draft
from tests.dashboard.fakes import real_run, recorded
from tests.dashboard.pages import field, metrics, page, segmented, texts
from trimcore import tables


def test_hidden_neurons_can_be_grouped(launched):
    app = page("plan", draft=unit_draft([{"layers": ["fc1"], "rule": "count", "value": 5}], model="lenet5", options={}))
    assert "least relevant per unit" not in offered_rules(app)
    app.radio[0].set_value("maxout").run()
    assert "least relevant per unit" in offered_rules(app), "now there are units"
    field(app, "Neurons per unit (k)").set_value(3).run()
    assert "layer 'fc1' has 500 neurons, not a multiple of k = 3" in app.error[0].value
    field(app, "Neurons per unit (k)").set_value(5).run()
    assert not app.error
    segmented(app, "Rule to remove neurons").set_value("maxout").run()
    assert metrics(app)["Neurons per unit (k)"] == "4"
    now = 520 + 25_050 + 801 * 400 + 101 * 10
    assert metrics(app)["Parameters"] == f"{now:,}"
    assert metrics(app)["Compression"] == f"{431_080 / now:.2f}×", "relative to the original network"
    app.button(key="launch").click().run()
    convert = launched[0].convert
    assert (convert.to, convert.k, convert.layers) == ("maxout", 5, [])


def test_a_branch_from_a_grouped_network_uses_its_units(make_spec, runs_folder):
    asked = make_spec(
        convert={"to": "maxout", "k": 4, "epochs": 1, "batch_size": 32}, retrain={"epochs": 0},
        step=[{"layers": ["fc1"], "rule": "maxout", "value": 1.0, "iterations": 2}],
    )
    made = real_run(runs_folder, asked)
    app = page("plan", run=made.name, draft=asked.model_dump(exclude_none=True))
    rows = tables.iterations(recorded(made))
    assert not app.radio, "it is already converted"
    assert metrics(app)["Parameters"] == f"{rows.parameters[2]:,}"
    box = field(app, "Start from")
    box.set_value((made.name, 1)).run()
    assert not app.exception
    assert not app.error
    assert metrics(app)["Neurons per unit (k)"] == "1"
    curve = page("run", run=made.name)
    assert "grouped into maxout units of 4" in texts(curve)
