"""Open the pages without a browser, and find what is on them."""

from pathlib import Path

from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")
PAGES = ["start", "model", "profile", "plan", "run", "queue", "compare", "report"]


def page(name: str, **session) -> AppTest:
    """The page after its first run, with these values in the session."""
    app = AppTest.from_file(APP, default_timeout=60)
    app.run()
    for key, value in session.items():
        app.session_state[key] = value
    app.switch_page(f"{name}/page.py").run()
    assert not app.exception, app.exception
    return app


def open_link(name: str, **asked: str) -> AppTest:
    """The page as it opens from a link in a new browser."""
    app = AppTest.from_file(APP, default_timeout=60)
    app._page_hash = calc_hash(name)  # `switch_page` works only after a first run
    app.query_params.update(asked)
    app.run()
    assert not app.exception, app.exception
    return app


def texts(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.success)
    return "\n".join(element.value for kind in kinds for element in kind)


def field(app: AppTest, label: str):
    """The widget with that label."""
    kinds = (app.number_input, app.text_input, app.selectbox, app.toggle, app.slider)
    return next(widget for kind in kinds for widget in kind if widget.label == label)


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def segmented(app: AppTest, label: str):
    """The segmented control with that label."""
    return next(group for group in app.segmented_control if group.label == label)


def button(app: AppTest, label: str):
    """The button whose label starts with `label`."""
    return next(button for button in app.button if button.label.startswith(label))


def click(app: AppTest, label: str) -> AppTest:
    button(app, label).click().run()
    assert not app.exception, app.exception
    return app


def choose_model(app: AppTest, model: str) -> AppTest:
    """Choose a network on the page Model."""
    app.selectbox[0].set_value(model).run()
    assert not app.exception
    return app
