"""Open the page Profile and the card of a neuron."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from tests.dashboard.pages import page


def profile_page(
    run: Path, number: int | None = None, layer: str = "conv2", after: int = 0, **session
) -> AppTest:  # fmt: skip
    """The page Profile with a chosen layer, and optionally a neuron and a later iteration."""
    app = page("profile", run=run.name, **session)
    if after:
        next(one for one in app.segmented_control if one.label == "Iteration").set_value(after).run()
    next(one for one in app.selectbox if one.label == "Layer").set_value(layer).run()
    if number is not None:
        next(one for one in app.number_input if one.label == "Inspect neuron").set_value(number).run()
    assert not app.exception, app.exception
    return app


def click(app: AppTest, label: str) -> AppTest:
    """Click the button with exactly this label."""
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception, app.exception
    return app


def forbid(monkeypatch, module, name: str) -> None:
    """Make a function fail if it is called."""
    def fail(*_, **__):
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(module, name, fail)
