"""The selection of the run, which is part of the URL."""

from streamlit.testing.v1 import AppTest

from dashboard.widgets import elements, sidebar
from tests.dashboard.fakes import fake_run
from tests.dashboard.pages import APP, texts


def test_a_link_to_an_invalid_run(run):
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params["run"] = "../../etc"
    app.run()
    assert not app.exception
    assert "not a run id" in texts(app)


def test_text_in_a_link_is_not_markdown(run):
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params["run"] = "![x](http://example.org/x.png)"
    app.run()
    assert "![x](http" not in texts(app)


class State(dict):
    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


def test_an_outdated_label_keeps_the_run_selected(runs_folder, monkeypatch):
    """The browser sends the label that it shows. The label contains the state, so an outdated one matches no run."""
    widths = {"conv1": 20, "conv2": 50, "fc1": 500}
    name, other = (fake_run(runs_folder, {"model": "lenet5"}, [widths], [0.9]) for _ in range(2))
    monkeypatch.setattr(elements.st, "session_state", State(run=name, run_choice=f"▶ {name}"))
    sidebar._choose()
    assert elements.st.session_state.run == name
    elements.st.session_state.run_choice = other
    sidebar._choose()
    assert elements.st.session_state.run == other


def test_a_link_to_a_run_opens_on_its_network(runs_folder):
    """Somebody who opens a link to Plan must not launch on other data than the run's."""
    widths = {"conv1": 20, "conv2": 50, "fc1": 500}
    name = fake_run(runs_folder, {"model": "lenet5", "data": "mnist-5k", "base": {"epochs": 3}}, [widths], [0.9])
    app = AppTest.from_file(APP, default_timeout=60)
    app.query_params["run"] = name
    app.run()
    assert not app.exception
    assert app.session_state.draft["base"]["epochs"] == 3
    app.session_state.draft["base"]["epochs"] = 5
    app.run()
    assert app.session_state.draft["base"]["epochs"] == 5, "what the session has chosen stays"
