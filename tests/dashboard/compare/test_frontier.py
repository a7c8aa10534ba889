"""The frontier by parameters or by non-zero parameters."""

import shutil

import pytest
import torch

import trimcore as tc
from tests.dashboard.fakes import fake_run, recorded
from tests.dashboard.pages import open_link, page, segmented, texts
from trimcore import tables


def test_the_frontier_can_count_non_zero_parameters(units_run, runs_folder):
    widths = [{"conv1": 20, "fc1": 500}, {"conv1": 20, "fc1": 300}]
    app = page("compare")
    listed = app.dataframe[0].value
    last = tables.iterations(recorded(units_run)).iloc[-1]
    ratio = last.compression * last.parameters / last.nonzero_parameters
    assert listed["compression, non-zero"][0] == pytest.approx(ratio)
    assert listed.verification[0] == last.verification
    segmented(app, "Size by").set_value("non-zero parameters").run()
    assert not app.exception
    shutil.rmtree(units_run)
    fake_run(runs_folder, {}, widths, [0.9, 0.8])
    app = page("compare")
    assert "verification" not in app.dataframe[0].value
    assert not any(group.label == "Size by" for group in app.segmented_control)


def test_a_loop_of_ones_own_is_compared_under_the_names_that_it_gave(runs_folder):
    """It has none of the settings of a spec, so none are shown as different."""
    theirs = fake_run(runs_folder, {"name": "trimcore's loop"}, [{"conv1": 20}, {"conv1": 10}], [0.9, 0.8])
    network = torch.nn.Sequential(torch.nn.Linear(4, 10), torch.nn.ReLU(), torch.nn.Linear(10, 2))
    for data in ("mnist-5k", "others"):
        with tc.record(network, torch.zeros(1, 4), runs=runs_folder, model="lenet5", data=data) as run:
            run.final(test=0.9, validation=0.9)
        app = open_link("compare", runs=f"{theirs}~{run.folder.name}")
        settings = next(table.value for table in app.dataframe if "model" in table.value.index)
        assert settings.loc["base.lr"].tolist().count("—") == 1
        warned = "These runs have different networks or data" in texts(app)
        assert warned == (data == "others")
        shutil.rmtree(run.folder)
