"""Which classes pay for the trim: the chart by hand, and where the pages show it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard import broken, htmlreport
from dashboard.charts.class_history import MOST, class_history
from tests.dashboard.fakes import fake_run
from tests.dashboard.test_charts import trace
from tests.dashboard.test_pages import page, texts
from trimcore import runs, tables

NAMES = ["cat", "dog", "cow"]
INITIAL = [[None] * 3, [0.5, 0.8, None], [0.9, 0.1, None]]
FINAL = [[1.0, 0.9, None], [0.98, 0.9, None], [0.99, 0.6, None]]


def table(initial=INITIAL, final=FINAL, names=NAMES, first=0) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"iteration": first + k, "class": names, "accuracy_initial": a, "accuracy_final": b})
        for k, (a, b) in enumerate(zip(initial, final, strict=True))
    ]
    return pd.concat(frames).astype({"accuracy_initial": float, "accuracy_final": float})


def changes(figure) -> np.ndarray:
    """The cells that have a number, row by row."""
    z = np.asarray(figure.data[0].z)
    return z[:, ~np.isnan(z).all(0)]


def test_cells_are_points_against_the_base_and_the_worst_is_on_top():
    figure = class_history(table())
    assert list(figure.layout.yaxis.ticktext) == ["dog", "cat"], "a class without examples has no row"
    np.testing.assert_allclose(changes(figure), [[0, -10, 0, -80, -30], [0, -50, -2, -10, -1]], atol=1e-4)
    written = figure.data[3]  # nothing where nothing changed, as the dog after the first retraining
    assert list(written.text) == ["90", "−10", "−80", "−30", "100", "−50", "−2.0", "−10", "−1.0"]
    heat, axis = figure.data[0], figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == pytest.approx((-30, 30)), "the largest change that retraining left"
    text = [entry for entry in heat.text[0] if entry]
    assert text[0] == "<b>dog</b>, base"
    assert text[3:] == ["<b>dog</b>, iteration 2, initial", "<b>dog</b>, iteration 2, final"]
    assert np.nanmax(np.asarray(heat.customdata)) == 100
    assert figure.layout.meta["alt"] == (
        "Accuracy of 2 classes against the base, through 2 iterations. After iteration 2, 2 are lower, most of all "
        "dog, 90\u00a0% to 60\u00a0%. The hardest cut was that of iteration 2: dog lost 80.0 points, retraining won "
        "back 50.0."
    )


def test_initial_and_final_are_neighbours_with_a_gap_between_iterations():
    figure = class_history(table())
    edges, empty = np.diff(figure.data[0].x), np.isnan(np.asarray(figure.data[0].z)).all(0)
    assert empty.tolist() == [False, True, False, False, True, False, False]
    assert edges[empty].max() < edges[~empty].min()
    cut, retrained = trace(figure, "after the cut"), trace(figure, "after retraining")
    np.testing.assert_allclose(np.subtract(retrained.x, cut.x), 1)
    assert cut.marker.symbol != retrained.marker.symbol, "not by colour alone"
    assert list(figure.layout.xaxis.ticktext) == ["base %", "1", "2"]


def test_better_is_blue_and_worse_is_orange_as_in_the_confusions():
    (_, worse), _, (_, better) = class_history(table()).layout.coloraxis.colorscale
    assert (worse, better) == ("#d9731a", "#3b7dd8")


def test_while_the_first_cut_is_retrained_it_is_all_there_is():
    figure = class_history(table(INITIAL[:2], [FINAL[0], [None] * 3]))
    np.testing.assert_allclose(changes(figure), [[0, -50], [0, -10]], atol=1e-4)
    alt = figure.layout.meta["alt"]
    assert alt.endswith("The hardest cut was that of iteration 1: cat lost 50.0 points.")
    assert "After iteration" not in alt


def test_without_the_base_the_first_finished_iteration_stands_for_it():
    figure = class_history(table(INITIAL[1:], FINAL[1:], first=4))
    np.testing.assert_allclose(changes(figure), [[0, -80, -30], [0, -8, 1]], atol=1e-4)
    assert list(figure.layout.xaxis.ticktext) == ["4, %", "5"]


def test_where_nothing_fell_nobody_is_named():
    alt = class_history(table([[None] * 2, [0.5, 0.9]], [[0.5, 0.9]] * 2, NAMES[:2])).layout.meta["alt"]
    assert alt == "Accuracy of 2 classes against the base, through 1 iteration. After iteration 1, 0 are lower."


@pytest.mark.parametrize(("classes", "iterations"), [(1000, 120), (40, 40), (41, 2), (1, 1)])
def test_large_histories_stay_light_and_show_those_that_lost_most(classes, iterations):
    random = np.random.default_rng(0)
    final, names = random.random((iterations + 1, classes)), [f"a class of a long name, {k}" for k in range(classes)]
    figure = class_history(table(np.array([[np.nan] * classes, *final[1:] / 2]), final, names))
    assert len(figure.to_json()) < 500_000
    assert figure.layout.height < 900
    shown = changes(figure)
    assert shown.shape == (min(classes, MOST), 1 + 2 * min(iterations, MOST))
    np.testing.assert_allclose(shown[:, -1], np.sort(100 * (final[-1] - final[0]))[:MOST], atol=1e-3)
    assert (len(figure.data) == 4) == (classes == 1), "numbers only where they have room"
    assert f"through {iterations:,} iteration" in figure.layout.meta["alt"], "of all, not of those that are drawn"


@pytest.mark.parametrize(("given", "named"), [
    (table().iloc[:0], "classes is empty"), (table().drop(columns="class"), "class"),
    (table([[0.5] * 3], [[None] * 3]), "no final accuracy"),
])
def test_what_cannot_be_drawn_is_named(given, named):
    with pytest.raises(ValueError, match=named):
        class_history(given)


# --- the pages ---

@pytest.fixture
def run(runs_folder) -> Path:
    """A run of three iterations that has recorded nothing of its classes."""
    widths = [{"conv1": 20, "fc1": width} for width in (500, 400, 300)]
    return runs_folder / fake_run(runs_folder, {"name": "digits"}, widths, [0.95, 0.94, 0.9])


@pytest.fixture
def telling(run) -> Path:
    """The same, of a version that recorded them: the test split has the classes turned round."""
    events = list(runs.read_events(run))
    events[0]["classes"] = ["*cat*", "dog", "cow"]
    for event in events:
        values = {"initial": INITIAL, "iteration": FINAL}.get(event["kind"])
        if values:
            own = values[event["iteration"]][:2]
            event["class_accuracy"] = {"validation": [*own, None], "test": [None, *own]}
            event["class_examples"] = {"validation": [50, 20, 0], "test": [0, 50, 40]}
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
    return run


@pytest.fixture
def drawn(monkeypatch) -> list[pd.DataFrame]:
    """What the chart was given."""
    found = []

    def keep(given: pd.DataFrame):
        found.append(given)
        return class_history(given)

    monkeypatch.setattr("dashboard.charts.class_history.class_history", keep)
    return found


def test_the_run_page_draws_the_validation_split_when_it_is_asked(telling, drawn):
    app = page("run", run=telling.name)
    assert [box.label for box in app.expander].count(broken.QUESTION) == 1
    assert drawn == []
    app = page("run", run=telling.name, **{f"pay_{telling.name}": True})
    (given,) = drawn
    assert set(given.split) == {"validation"}
    assert given.accuracy_final.dropna().tolist() == [1.0, 0.9, 0.98, 0.9, 0.99, 0.6]
    assert "In a class of 20 images, one image is 5 points." in texts(app)


def test_the_report_draws_the_test_split_and_offers_the_file(telling, drawn):
    app = page("report", run=telling.name)
    (given,) = drawn
    assert set(given.split) == {"test"}
    assert broken.QUESTION in texts(app)
    assert "one image is 2.5 points" in texts(app)
    assert "classes.csv" in [button.label for button in app.get("download_button")]
    events = list(runs.read_events(telling))
    figure = next(figure for key, _, figure, _ in htmlreport.figures(events, {}) if key == "classes")
    assert list(figure.layout.yaxis.ticktext) == ["cow", "dog"]


@pytest.mark.parametrize("name", ["run", "report"])
def test_an_old_run_shows_nothing_of_it(run, name):
    app = page(name, run=run.name)
    assert broken.QUESTION not in texts(app) + str([box.label for box in app.expander])
    if name == "report":
        assert "classes.csv" not in [button.label for button in app.get("download_button")]
        assert "neurons.csv" in [button.label for button in app.get("download_button")]
        assert "classes" not in [key for key, *_ in htmlreport.figures(list(runs.read_events(run)), {})]


def test_before_the_first_cut_there_is_nothing_to_compare(telling):
    events = [event for event in runs.read_events(telling) if event.get("iteration", 0) == 0]
    assert len(tables.class_accuracy(events)) == 2 * 3
    assert broken.of_split(events, "validation").empty
