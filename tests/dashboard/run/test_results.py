"""The results of a run are drawn once for all viewers."""

import json

from dashboard.run import results
from tests.dashboard.pages import page, texts


def test_curves_are_cached_until_something_is_recorded(cut_run, monkeypatch):
    drawn, real = [], results.charts.accuracy_curve
    curve = lambda *given, **more: drawn.append(1) or real(*given, **more)  # noqa: E731
    monkeypatch.setattr(results.charts, "accuracy_curve", curve)
    first, second = page("run", run=cut_run.name), page("run", run=cut_run.name)
    assert len(drawn) == 1
    charts = [[chart.proto.spec for chart in app.get("plotly_chart")] for app in (first, second)]
    assert charts[0] == charts[1]
    assert len(charts[0]) > 2
    epoch = {"kind": "epoch", "phase": "retrain", "iteration": 2, "epoch": 2, "epochs": 2, "loss": 0.125,
             "accuracy": 0.5, "validation_accuracy": 0.625, "seconds": 1.0}  # fmt: skip
    with open(cut_run / "events.jsonl", "a") as file:
        file.write(json.dumps({"seq": 99, **epoch}) + "\n" + json.dumps({"seq": 100, "kind": "note", "text": "new"}))
    second.run()
    assert len(drawn) == 2
    assert "new" in texts(second)
    assert [chart.proto.spec for chart in second.get("plotly_chart")] != charts[1]
