"""What a run that is still retraining has so far, worked out by hand."""

import pytest

from trimcore import tables


def epoch(number, value, iteration=2, phase="retrain", name="validation_accuracy"):
    return {"kind": "epoch", "phase": phase, "iteration": iteration, "epoch": number, "epochs": 4, name: value}


DONE = [
    {"kind": "iteration", "iteration": 0, "parameters": 1000, "validation_accuracy": 0.95},
    {"kind": "iteration", "iteration": 1, "parameters": 500, "validation_accuracy": 0.94},
    {"kind": "pruned", "iteration": 2, "parameters": 250},
]


def test_there_is_none_before_the_first_epoch_after_a_cut():
    assert tables.outlook([]) is None
    assert tables.outlook(DONE) is None
    assert tables.outlook([epoch(1, 0.5, iteration=0, phase="base")]) is None


def test_there_is_none_once_the_iteration_has_finished():
    finished = {"kind": "iteration", "iteration": 2, "parameters": 250, "validation_accuracy": 0.93}
    assert tables.outlook([*DONE, epoch(4, 0.93), finished]) is None


def test_the_best_epoch_the_last_gain_and_the_size():
    found = tables.outlook([*DONE, epoch(1, 0.90), epoch(2, 0.935), epoch(3, 0.92)])
    assert (found.iteration, found.epoch, found.epochs) == (2, 3, 4)
    assert (found.now, found.best, found.best_epoch, found.before) == (0.92, 0.935, 2, 0.94)
    assert found.compression == 4
    assert found.gain == pytest.approx(-0.015)


def test_an_epoch_that_was_repeated_counts_once():
    found = tables.outlook([*DONE, epoch(1, 0.80), epoch(1, 0.90)])
    assert (found.now, found.best, found.gain) == (0.90, 0.90, None)


def test_lower_is_better_for_an_error():
    started = {"kind": "started", "metric": {"name": "MAE", "higher_is_better": False, "percent": False}}
    epochs = [epoch(number, value, name="validation_metric") for number, value in [(1, 3.0), (2, 2.0), (3, 2.5)]]
    found = tables.outlook([started, *epochs])
    assert (found.best, found.best_epoch, found.gain) == (2.0, 2, -0.5)
    assert (found.before, found.compression) == (None, None)
