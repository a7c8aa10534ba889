"""The section Shapes of the page Report, and the same table in the HTML report and on the command line."""

import re
import sys

import pandas as pd
import pytest

from dashboard.report import html_report, shapes
from tests.dashboard.pages import page, texts
from trimcore import runs
from trimcore.cli.main import main
from trimcore.graph.shape_table import COLUMNS


def shown(app) -> pd.DataFrame | None:
    return next((table.value for table in app.dataframe if "weights" in table.value.columns), None)


def test_the_table_shows_what_the_cuts_changed(tiny_run):
    """Two cuts of 30 % each: 50 -> 35 -> 25 filters, 500 -> 350 -> 245 neurons, on images of 16 pixels."""
    app = page("report", run=tiny_run.name)
    table = shown(app).set_index("layer")
    assert table.loc["conv1"].tolist() == ["conv", "20×3×5×5", "20×12×12", "1,520", "216,000"]
    assert table.weights["conv2"] == "50×20×5×5 → 25×20×5×5"
    assert table.output["conv2"] == "50×2×2 → 25×2×2"
    assert table.weights["fc1"] == "500×50 → 245×25"
    assert table.parameters["fc1"] == "25,500 → 6,370"
    assert "Iteration 0 → iteration 2. 1 of 4 rows are unchanged." in texts(app)
    next(toggle for toggle in app.toggle if toggle.label == "Only layers that changed").set_value(True).run()
    assert shown(app).layer.tolist() == ["conv2", "fc1", "fc2"]
    next(box for box in app.selectbox if box.label == "Iteration").set_value(1).run()
    assert shown(app).set_index("layer").weights["conv2"] == "50×20×5×5 → 35×20×5×5"


def test_the_base_has_no_arrows(tiny_run):
    app = page("report", run=tiny_run.name)
    next(box for box in app.selectbox if box.label == "Iteration").set_value(0).run()
    assert not shown(app).map(lambda cell: "→" in cell).to_numpy().any()
    assert "Iteration 0, before any cut." in texts(app)
    assert "Only layers that changed" not in [toggle.label for toggle in app.toggle]


def test_large_networks_are_read_on_request(tiny_run, monkeypatch):
    monkeypatch.setattr(shapes, "AT_ONCE", 1000)
    app = page("report", run=tiny_run.name)
    assert shown(app) is None
    assert not shapes.are_wanted(tiny_run.name, tiny_run, 2)
    next(toggle for toggle in app.toggle if toggle.label.startswith("Read the shapes from")).set_value(True).run()
    assert len(shown(app)) == 4


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"damaged"), lambda path: path.unlink()])
def test_a_network_that_cannot_be_read_is_one_line(tiny_run, damage):
    damage(runs.checkpoint_path(tiny_run, 0))
    app = page("report", run=tiny_run.name)
    assert shown(app) is None
    assert "The shapes cannot be read" in texts(app)
    assert shapes.as_html(tiny_run, 2) == ""


def test_the_html_report_has_the_table(tiny_run):
    text = html_report.report(tiny_run, shapes.as_html(tiny_run, 2))
    assert "<h2>Shapes of the layers, iteration 0 → 2</h2>" in text
    assert "50×20×5×5 → 25×20×5×5" in text
    assert re.findall(r"<tr( class=result)?><td class=text>(\w+)<", text.partition("Shapes of the layers")[2]) == [
        ("", "conv1"), *((" class=result", name) for name in ("conv2", "fc1", "fc2")),
    ]  # fmt: skip
    assert "Shapes of the layers" not in html_report.report(tiny_run)


def test_names_of_layers_are_escaped(tiny_run, monkeypatch):
    table = shapes.read(tiny_run, 2).replace("conv1", "<b onclick=x>")
    monkeypatch.setattr(shapes, "read", lambda folder, iteration: table)
    assert "&lt;b onclick=x&gt;" in shapes.as_html(tiny_run, 2)


def test_the_command_prints_and_writes_it(tiny_run, tmp_path, monkeypatch, capfd):
    def call(*more: str) -> tuple[int, str, str]:
        asked = ["trimcore", "shapes", tiny_run.name, "--runs", str(tiny_run.parent), *more]
        monkeypatch.setattr(sys, "argv", asked)
        return main(), *capfd.readouterr()

    code, out, _ = call("--csv", str(tmp_path / "s.csv"))
    assert code == 0
    assert "50x20x5x5 → 25x20x5x5" in out
    table = pd.read_csv(tmp_path / "s.csv").set_index("layer")
    assert list(table.columns) == COLUMNS[1:]
    assert (table.parameters_before["fc1"], table.parameters_after["fc1"]) == (25_500, 6_370)
    assert table.macs_after["conv2"] == 4 * 25 * 20 * 25
    code, _, wrong = call("--iteration", "7")
    assert (code, wrong.count("\n")) == (2, 1)
    assert "there is no checkpoint" in wrong
    code, _, wrong = call("--csv", str(tmp_path / "none" / "s.csv"))
    assert (code, wrong.count("\n")) == (2, 1)
