"""Classes on the page: the charts say what the counts say, the section measures what the library would."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard import looking
from dashboard.charts.classes import COLUMNS, ROWS, cells_of, class_accuracy, class_heatmap, confusion_change
from tests.dashboard.test_charts import trace as trace_of
from tests.dashboard.test_neuron import cannot, carried_out, opened  # noqa: F401 (a fixture)
from tests.dashboard.test_pages import texts
from trimcore import models, runs, spec
from trimcore.compute.generators import finished
from trimcore.data.batches import Batches
from trimcore.evaluation import confusion
from trimcore.files import checkpoint
from trimcore.graph.tracing import trace
from trimcore.scoring import per_class
from trimcore.training.prepare import data_for

RANDOM = np.random.default_rng(0)
ACCURACIES = pd.DataFrame({"class": ["a", "b", "c", "d"], "before": [0.9, 0.8, 1.0, np.nan],
                           "after": [0.95, 0.5, 0.9, np.nan]})  # fmt: skip
BEFORE = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 5]])
AFTER = np.array([[5, 2, 3], [0, 10, 0], [0, 0, 5]])


# --- which neurons serve which class? ---

def test_a_cell_is_a_neuron_in_a_class_in_the_given_order():
    apoz = np.array([[0.1, 0.2, 1.0], [np.nan] * 3, [0.404, 0.5, 1.0]])
    figure = class_heatmap(apoz, ["cat", "dog", "cow"], [2, 0, 1])
    (heat,) = figure.data
    assert (np.asarray(heat.z).tolist(), heat.z.dtype) == ([[100, 10, 20], [100, 40, 50]], np.uint8)
    assert (list(heat.x), list(heat.y)) == (["2", "0", "1"], ["cat", "cow"]), "a class that was not seen has no row"
    assert "3 neurons in 2 classes: 2 of them fire" in figure.layout.meta["alt"]
    assert "1 never" in figure.layout.meta["alt"]
    assert "mean of" not in figure.layout.meta["alt"]


@pytest.mark.parametrize(("classes", "neurons"), [(1, 1), (10, 4096), (1000, 4096), (50, 500), (201, 1025), (1000, 3)])
def test_large_layers_share_cells_and_stay_light(classes, neurons):
    apoz, order = RANDOM.random((classes, neurons)).astype(np.float32), RANDOM.permutation(neurons)
    names = [f"class {i}" for i in range(classes)]
    figure = class_heatmap(apoz, names, order)
    assert len(figure.to_json()) < 500_000
    assert figure.layout.height <= 640
    z = np.asarray(figure.data[0].z)
    assert z.shape[0] <= ROWS
    assert z.shape[1] <= COLUMNS
    assert len(set(figure.data[0].y)) == z.shape[0], "no two rows of an axis fall into one"
    high, wide = -(-classes // ROWS), -(-neurons // COLUMNS)
    first = apoz[:high][:, order[:wide]]
    last = apoz[(z.shape[0] - 1) * high :][:, order[(z.shape[1] - 1) * wide :]]
    assert (z[0, 0], z[-1, -1]) == (round(100 * first.mean()), round(100 * last.mean()))
    assert figure.data[0].x[0].startswith(str(order[0]))
    assert ("A cell is the mean" in figure.layout.meta["alt"]) == (high * wide > 1)


@given(st.integers(1, 5000), st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_cells_hold_everybody_once(count, most):
    begins = cells_of(count, most)
    sizes = np.diff([*begins, count])
    assert sizes.sum() == count
    assert sizes.min() >= 1
    assert len(begins) <= most
    assert len(set(sizes[:-1])) <= 1
    assert (sizes.max() == 1) == (count <= most)


def test_classes_of_one_name_have_rows_of_their_own():
    heat = class_heatmap(np.array([[0.0], [1.0]]), ["same", "same"], [0]).data[0]
    assert len(set(heat.y)) == 2


# --- what did the trim break? ---

def test_the_largest_loss_stands_on_top():
    figure = class_accuracy(ACCURACIES, "base", "after 2")
    before, after = trace_of(figure, "base"), trace_of(figure, "after 2")
    assert list(figure.layout.yaxis.ticktext) == ["b", "c", "a"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    np.testing.assert_allclose(before.x, [80, 100, 90])
    np.testing.assert_allclose(after.x, [50, 90, 95])
    assert list(after.customdata[0]) == ["b", 80, 50, -30]
    assert before.marker.symbol != after.marker.symbol, "not by colour alone"
    assert "2 lost, most of all b, 80\u00a0% to 50\u00a0%." in figure.layout.meta["alt"]
    lost, gained = figure.data[:2]
    assert [[x for x in line.x if x is not None] for line in (lost, gained)] == [[80, 50, 100, 90], [90, 95]]


def test_worse_and_better_are_told_apart_on_and_off_the_diagonal():
    figure = confusion_change(BEFORE, AFTER, "abc")
    heat = figure.data[0]
    shown = np.asarray(heat.z)
    assert np.nan_to_num(shown).tolist() == [[3, 0, 3], [-1, -1, 0], [0, 0, 0]], "fewer on the diagonal is worse"
    assert np.isnan(shown).tolist() == [[False, True, False], [False, False, True], [True] * 3], "empty: no change"
    assert np.asarray(heat.customdata)[0].tolist() == [[8, 5, -3], [2, 2, 0], [0, 3, 3]]
    written = figure.data[1]
    assert list(zip(written.y, written.x, written.text, strict=True)) == [
        (0, 0, "−3"), (0, 2, "+3"), (1, 0, "−1"), (1, 1, "+1"),
    ]
    assert heat.hovertext[0][2] == "a taken for c"
    axis = figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-3, 3)
    assert "3 images were taken for another class before, 5 after; 1 confusions" in figure.layout.meta["alt"]


@pytest.mark.parametrize("figure", [
    class_accuracy(ACCURACIES), confusion_change(BEFORE, AFTER, "abc"), confusion_change([[3]], [[3]], "a"),
    confusion_change(RANDOM.integers(0, 90, (50, 50)), RANDOM.integers(0, 90, (50, 50)), [f"c {i}" for i in range(50)]),
    class_heatmap(RANDOM.random((1, 5)), ["only"], range(5)),
    class_accuracy(pd.DataFrame({"class": [f"{i}" for i in range(40)], "before": 0.5, "after": 0.5})),
])
def test_charts_are_light_and_describe_themselves(figure):
    assert len(figure.to_json()) < 500_000
    assert figure.layout.height < 1100
    alt = figure.layout.meta["alt"]
    assert alt.endswith(".")
    assert "nan" not in alt.lower()
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


@pytest.mark.parametrize(("chart", "arguments", "named"), [
    (class_heatmap, [np.zeros((0, 3)), [], [0, 1, 2]], r"apoz of shape \(0, 3\)"),
    (class_heatmap, [np.full((1, 2), np.nan), ["a"], [0, 1]], "one seen"),
    (class_heatmap, [np.zeros((1, 3)), ["a"], [0, 1]], "2 neurons"),
    (class_accuracy, [ACCURACIES.tail(1)], "that were seen"),
    (class_accuracy, [ACCURACIES.drop(columns="after")], "after"),
    (confusion_change, [BEFORE, AFTER[:2, :2], "abc"], "shapes"),
    (confusion_change, [BEFORE, AFTER, "ab"], "2 classes"),
])
def test_what_cannot_be_drawn_is_named(chart, arguments, named):
    with pytest.raises(ValueError, match=named):
        chart(*arguments)


# --- the section ---

@pytest.fixture
def run(carried_out, runs_folder) -> Path:  # noqa: F811
    return Path(shutil.copytree(carried_out, runs_folder / carried_out.name))


@pytest.fixture
def drawn(monkeypatch) -> dict[str, tuple]:
    """What the charts of the section were given."""
    found = {}
    for chart in (class_heatmap, class_accuracy, confusion_change):
        def keep(*arguments, chart=chart):
            found[chart.__name__] = arguments
            return chart(*arguments)

        monkeypatch.setattr(f"dashboard.charts.classes.{chart.__name__}", keep)
    return found


def of(run: Path, iteration: int):
    """The network of an iteration, its graph, and the run's data, as the library reads them."""
    found = checkpoint.load(runs.checkpoint_path(run, iteration))
    model = found.build().eval()
    data = data_for(spec.load(run / "spec.toml"))
    return model, trace(model, models.example_input(found.arguments)), data, Batches(data.validation, data, 7, "cpu")


def section(run: Path, after: int, **session):
    return opened(run, after=after, **{f"classes_{run.name}": True, **session})


def test_nothing_is_measured_before_the_section_is_opened(run, monkeypatch):
    cannot(monkeypatch, per_class, "counting_by_class")
    cannot(monkeypatch, checkpoint, "load")
    app = opened(run)
    assert "What did the trim break?" not in texts(app)


def test_the_section_shows_what_the_library_counts(run, drawn):
    app = section(run, 2)
    model, graph, data, batches = of(run, 2)
    found = per_class.profile_by_class(model, batches, data.num_classes, graph=graph)["conv2"].apoz
    apoz, classes, order = drawn["class_heatmap"]
    np.testing.assert_allclose(apoz, found.numpy(), atol=1e-6)
    assert (classes, order.tolist()) == (data.classes, per_class.order(found).tolist())
    matrices = [finished(confusion.confusing(of(run, k)[0], batches, data.num_classes)) for k in (0, 2)]
    before, after, _ = drawn["confusion_change"]
    assert (before.tolist(), after.tolist()) == tuple(matrix.tolist() for matrix in matrices)
    table = drawn["class_accuracy"][0].sort_index()
    np.testing.assert_allclose(table.before, confusion.per_class_accuracy(matrices[0]))
    np.testing.assert_allclose(table.after, confusion.per_class_accuracy(matrices[1]))
    worst = confusion.broken(*matrices, 3)
    told = [line for line in texts(app).splitlines() if "is taken for" in line]
    assert len(told) == len(worst)
    for (true, wrong, _, now), line in zip(worst, told, strict=True):
        assert f"**{classes[true]}** is taken for **{classes[wrong]}** in {round(100 * now)}\u00a0%" in line


def test_the_order_of_the_layer_is_a_switch(run, drawn):
    app = section(run, 0)
    next(one for one in app.toggle if one.label.startswith("Neurons in the order")).set_value(True).run()
    assert not app.exception
    assert drawn["class_heatmap"][2].tolist() == list(range(50))
    assert "confusion_change" not in drawn
    assert "This is the base." in texts(app)


def test_a_second_look_costs_nothing(run, monkeypatch):
    app = section(run, 1)
    cannot(monkeypatch, per_class, "counting_by_class")
    cannot(monkeypatch, confusion, "confusing")
    assert not app.run().exception
    assert "Which classes lost most?" in texts(app)


def test_many_classes_are_a_list_of_what_broke_most(run, drawn, monkeypatch):
    monkeypatch.setattr("dashboard.classes.MATRIX", 3)
    app = section(run, 2)
    assert "confusion_change" not in drawn
    model, _, data, batches = of(run, 2)
    after = finished(confusion.confusing(model, batches, 4))
    before = finished(confusion.confusing(of(run, 0)[0], batches, 4))
    pairs = confusion.broken(before, after, 20)
    tables = [one.value for one in app.dataframe if "taken for" in one.value]
    assert [len(table) for table in tables] == ([len(pairs)] if pairs else [])
    for table in tables:
        assert table["class"].tolist() == [data.classes[true] for true, *_ in pairs]
        np.testing.assert_allclose(table["after 2"], [100 * now for *_, now in pairs])


def test_without_the_weights_of_the_base_only_the_comparison_is_missing(run, drawn):
    runs.checkpoint_path(run, 0).unlink()
    app = section(run, 2)
    assert "class_heatmap" in drawn
    assert any("no weights of iteration 0" in one.value for one in app.warning)


def test_only_so_many_finds_are_kept(monkeypatch):
    monkeypatch.setitem(looking.MOST, "tested", 2)
    done = []

    def find(name):
        done.append(name)
        yield 1
        return name.upper()

    def look(name):
        return looking.look("tested", name, lambda: find(name), 1, 0.0, "looking")

    assert [look(name) for name in "aababcab"] == list("AABABCAB")
    assert done == list("abcab"), "the one that was not looked at for longest goes"
