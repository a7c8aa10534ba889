"""The choice to convert smooth activations to ReLU: when it is shown and what it launches."""

from tests.dashboard.drafts import plan_page
from tests.dashboard.fakes import run_of
from tests.dashboard.pages import field, page, texts
from trimcore import runs


def test_networks_without_anything_to_convert_have_no_choice(runs_folder):
    assert not plan_page("squeezenet1_1").radio
    assert not plan_page("lenet5-maxout").radio, "it already has units"


def test_a_conversion_is_launched(smooth, runs_folder, launched):
    app = plan_page(smooth)
    (choice,) = app.radio
    assert (choice.options, choice.value) == (["keep GELU and Hardswish", "convert to ReLU"], "")
    assert "Conversion epochs" not in {widget.label for widget in app.number_input}
    choice.set_value("relu").run()
    field(app, "Conversion epochs").set_value(7)
    app.button(key="launch").click().run()
    assert not app.exception
    assert (launched[0].convert.to, launched[0].convert_epochs) == ("relu", 7)


def test_a_branch_from_a_smooth_network_can_convert(smooth, runs_folder, launched):
    app = plan_page(smooth, run=run_of(smooth, runs_folder))
    app.radio[0].set_value("relu").run()
    assert "from before the conversion" in texts(app)
    app.button(key="launch").click().run()
    assert (launched[0].parent.iteration, launched[0].convert_epochs) == (0, 4)


def test_a_branch_from_a_converted_network_has_no_choice(smooth, runs_folder, launched):
    run_id = run_of(smooth, runs_folder, convert={"to": "relu", "epochs": 1, "batch_size": 500})
    app = plan_page(smooth, run=run_id)
    assert not app.radio
    app.session_state.draft["convert"]["to"] = "relu"  # chosen for another starting point
    app.button(key="launch").click().run()
    assert (launched[0].parent.run, launched[0].convert.to) == (run_id, "")


def test_the_run_page_shows_the_conversion(smooth, runs_folder):
    run_id = run_of(smooth, runs_folder, convert={"to": "relu", "epochs": 2, "batch_size": 500})
    app = page("run", run=run_id)
    assert "converting to ReLU over 2 epochs" in texts(app)
    assert [e["phase"] for e in runs.read_events(runs_folder / run_id) if e["kind"] == "epoch"] == ["convert"] * 2
