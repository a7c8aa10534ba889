"""The table of a sweep, checked against values computed by hand."""

import csv
import io

from tests.trimcore.tables.test_csvs import row
from trimcore import tables
from trimcore.tables import Metric, SweepRun
from trimcore.tables.csv_text import as_csv


def rows(*runs: SweepRun) -> list[dict]:
    return list(csv.DictReader(io.StringIO(as_csv(tables.sweep(runs)))))


def test_each_run_has_a_row_with_its_settings_and_its_result():
    events = [row(0, seconds=2.0), row(1, seconds=3.0, parameters=50, compression=2.0, macs=250, macs_ratio=4.0,
                                       validation_accuracy=0.9, accuracy_final=0.8)]  # fmt: skip
    settings = {"step.0.value": 1.5, "seed": 0, "order": ["fc1", "conv2"]}
    base, first, none = rows(SweepRun("base", {}, "finished", "done", events[:1], 0),
                             SweepRun("a", settings, "stopped", "behind", events, 1),
                             SweepRun("b", {**settings, "seed": 1}, "queued", "", [], 0))  # fmt: skip
    assert list(first) == ["run", "step.0.value", "seed", "order", *tables.SWEEP[2:]]
    assert first == {
        "run": "a", "step.0.value": "1.5", "seed": "0", "order": "fc1;conv2", "state": "stopped", "reason": "behind",
        "iterations": "1", "compression": "2.0", "parameters": "50", "nonzero_parameters": "99", "macs": "250",
        "macs_ratio": "4.0", "metric": "accuracy", "validation_metric": "0.9", "test_metric": "0.8", "seconds": "5.0",
    }  # fmt: skip
    assert (base["seed"], base["iterations"], base["seconds"]) == ("", "0", "2.0")
    assert (none["seed"], none["iterations"], none["compression"], none["seconds"]) == ("1", "0", "", "")


def test_another_metric_and_a_result_before_the_last_iteration():
    metric = Metric("MAE", higher_is_better=False, percent=False)
    events = [{"kind": "started", "metric": metric.recorded()},
              *(metric.fields(row(number, validation_accuracy=0.1 + number)) for number in range(3))]  # fmt: skip
    (found,) = rows(SweepRun("a", {"seed": 0}, "finished", "", events, 1))
    assert (found["metric"], found["validation_metric"], found["iterations"]) == ("MAE", "1.1", "2")


def test_an_empty_sweep_and_a_cell_that_looks_like_a_formula():
    assert rows() == []
    (found,) = rows(SweepRun("a", {"base.weights": "=1+2"}, "queued", "@x", [], 0))
    assert (found["base.weights"], found["reason"]) == ("'=1+2", "'@x")
