"""Units, non-zero parameters and verification among the metrics of a run."""

import pytest

from tests.dashboard.fakes import fake_run, recorded
from tests.dashboard.pages import metrics, page, texts
from trimcore import tables


@pytest.mark.parametrize("name", ["run", "report"])
def test_metrics_include_k_non_zero_parameters_and_verification(units_run, name):
    app = page(name, run=units_run.name)
    last = tables.iterations(recorded(units_run)).iloc[-1]
    shown = metrics(app)
    assert shown["Neurons per unit (k)"] == "1"
    assert shown["Non-zero parameters"] == f"{last.nonzero_parameters:,}"
    assert shown["Verification"] == f"{last.verification:.2%} ± {last.verification_error:.2%}"
    assert "2,000 pairs from the test split, compared by the cosine distance of the inputs of fc2" in texts(app)
    (table,) = [table.value for table in app.dataframe if "bytes sparse" in table.value]
    assert list(table["bytes sparse"]) == list(tables.iterations(recorded(units_run)).bytes_sparse)
    assert table.columns[-1] == "configuration", "the numbers come first"


def test_old_runs_do_not_have_these_metrics(runs_folder):
    old = fake_run(runs_folder, {}, [{"conv1": 20, "fc1": 500}, {"conv1": 20, "fc1": 300}], [0.9, 0.8])
    for name in ("profile", "run", "report"):
        app = page(name, run=old)
        absent = {"Non-zero parameters", "Verification", "Neurons per unit (k)", "Never the maximum"}
        assert not absent & set(metrics(app))
    assert "bytes dense" not in app.dataframe[0].value
    assert app.dataframe[0].value.columns[-1] == "configuration", "also if it is short"
    assert "Three sizes" not in texts(app)
