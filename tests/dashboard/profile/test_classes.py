"""The section of the classes on the page Profile, compared with the results of the library."""

from pathlib import Path

import numpy as np
import pytest

from dashboard.charts.classes import class_accuracy, class_heatmap, confusion_change
from tests.dashboard.pages import texts
from tests.dashboard.profile.card import forbid, profile_page
from trimcore import models, runs, spec
from trimcore.compute.generators import finished
from trimcore.data.batches import Batches
from trimcore.evaluation import confusion
from trimcore.files import checkpoint
from trimcore.graph.tracing import trace
from trimcore.scoring import per_class
from trimcore.training.prepare import data_for


@pytest.fixture
def drawn(monkeypatch) -> dict[str, tuple]:
    """The arguments of the charts of the section."""
    found = {}
    for chart in (class_heatmap, class_accuracy, confusion_change):
        def keep(*arguments, chart=chart):
            found[chart.__name__] = arguments
            return chart(*arguments)

        monkeypatch.setattr(f"dashboard.charts.classes.{chart.__name__}", keep)
    return found


def of(run: Path, iteration: int):
    """The network of an iteration, its graph and the run's data, loaded by the library."""
    found = checkpoint.load(runs.checkpoint_path(run, iteration))
    model = found.build().eval()
    data = data_for(spec.load(run / "spec.toml"))
    return model, trace(model, models.example_input(found.arguments)), data, Batches(data.validation, data, 7, "cpu")


def section(run: Path, after: int, **session):
    return profile_page(run, after=after, **{f"classes_{run.name}": True, **session})


def test_nothing_is_measured_before_the_section_is_opened(tiny_run, monkeypatch):
    forbid(monkeypatch, per_class, "counting_by_class")
    forbid(monkeypatch, checkpoint, "load")
    app = profile_page(tiny_run)
    assert "Changes since the base" not in texts(app)


def test_the_section_shows_the_library_counts(tiny_run, drawn):
    app = section(tiny_run, 2)
    model, graph, data, batches = of(tiny_run, 2)
    found = per_class.profile_by_class(model, batches, data.num_classes, graph=graph)["conv2"].apoz
    apoz, classes, order = drawn["class_heatmap"]
    np.testing.assert_allclose(apoz, found.numpy(), atol=1e-6)
    assert (classes, order.tolist()) == (data.classes, per_class.order(found).tolist())
    matrices = [finished(confusion.confusing(of(tiny_run, k)[0], batches, data.num_classes)) for k in (0, 2)]
    before, after, _ = drawn["confusion_change"]
    assert (before.tolist(), after.tolist()) == tuple(matrix.tolist() for matrix in matrices)
    table = drawn["class_accuracy"][0].sort_index()
    np.testing.assert_allclose(table.before, confusion.per_class_accuracy(matrices[0]))
    np.testing.assert_allclose(table.after, confusion.per_class_accuracy(matrices[1]))
    worst = confusion.broken(*matrices, 3)
    lines = [line for line in texts(app).splitlines() if "is predicted as" in line]
    assert len(lines) == len(worst)
    for (true, wrong, _, now), line in zip(worst, lines, strict=True):
        assert f"**{classes[true]}** is predicted as **{classes[wrong]}** in {round(100 * now)}\u00a0%" in line


def test_neurons_can_be_sorted_by_index(tiny_run, drawn):
    app = section(tiny_run, 0)
    next(one for one in app.toggle if one.label == "Sort neurons by index").set_value(True).run()
    assert not app.exception
    assert drawn["class_heatmap"][2].tolist() == list(range(50))
    assert "confusion_change" not in drawn
    assert "This is the base." in texts(app)


def test_results_are_cached(tiny_run, monkeypatch):
    app = section(tiny_run, 1)
    forbid(monkeypatch, per_class, "counting_by_class")
    forbid(monkeypatch, confusion, "confusing")
    assert not app.run().exception
    assert "Accuracy by class" in texts(app)


def test_many_classes_have_a_list_of_confusions(tiny_run, drawn, monkeypatch):
    monkeypatch.setattr("dashboard.profile.classes.MATRIX", 3)
    app = section(tiny_run, 2)
    assert "confusion_change" not in drawn
    model, _, data, batches = of(tiny_run, 2)
    after = finished(confusion.confusing(model, batches, 4))
    before = finished(confusion.confusing(of(tiny_run, 0)[0], batches, 4))
    pairs = confusion.broken(before, after, 20)
    tables = [one.value for one in app.dataframe if "predicted as" in one.value]
    assert [len(table) for table in tables] == ([len(pairs)] if pairs else [])
    for table in tables:
        assert table["class"].tolist() == [data.classes[true] for true, *_ in pairs]
        np.testing.assert_allclose(table["after 2"], [100 * now for *_, now in pairs])


def test_without_the_base_checkpoint_only_the_comparison_is_missing(tiny_run, drawn):
    runs.checkpoint_path(tiny_run, 0).unlink()
    app = section(tiny_run, 2)
    assert "class_heatmap" in drawn
    assert any("no checkpoint of iteration 0" in one.value for one in app.warning)
