"""The frontier by parameters or by non-zero parameters."""

import shutil

import pytest

from tests.dashboard.fakes import fake_run, recorded
from tests.dashboard.pages import page, segmented
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
