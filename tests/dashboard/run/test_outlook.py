"""The lines about a run that is still retraining."""

from dashboard.run import outlook
from tests.trimcore.tables.test_outlook import DONE, epoch

RESULTS = [
    {**event, "compression": 1000 / event["parameters"], "accuracy_final": 0.93, "widths": {}, "layers_trimmed": [],
     "macs": 1, "macs_ratio": 1.0, "result": event["iteration"]}
    for event in DONE[:2]
]  # fmt: skip


def test_nothing_is_said_before_the_base_network_is_done():
    assert outlook.lines([]) == []


def test_what_stopping_now_gives_and_how_the_retraining_goes():
    first, second = outlook.lines([*RESULTS, DONE[2], epoch(1, 0.90), epoch(2, 0.935), epoch(3, 0.92)])
    assert "iteration 1 is the result: 2.00× smaller, test accuracy 93.00%" in first
    assert "**Iteration 2** (4.00× smaller) has a validation accuracy of 92.00% after epoch 3 of 4" in second
    assert "best 93.50% after epoch 2, 2.00 points below the iteration before." in second
    assert second.endswith("The last epoch lost 1.50 points.")


def test_the_last_epoch_may_be_the_best():
    _, second = outlook.lines([*RESULTS, DONE[2], epoch(1, 0.95)])
    assert second.endswith("after epoch 1 of 4, the best so far, 1.00 points above the iteration before.")
