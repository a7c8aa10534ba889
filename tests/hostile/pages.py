"""Links with rubbish in them, and pages of runs whose events are not what they should be: the page is drawn, with a
line where something is wrong."""

import json
import logging
from pathlib import Path

from streamlit.testing.v1 import AppTest

from tests.dashboard.fakes import fake_run
from tests.hostile.case import Case

APP = str(Path(__file__).parents[2] / "dashboard" / "app.py")
PAGES = ("model", "profile", "plan", "run", "queue", "compare", "report")
RUBBISH = {
    "a run that is not there": {"run": "20260101-000000-x-0000"}, "a run that leads out": {"run": "../../etc"},
    "markup": {"run": "<script>alert(1)</script>", "layer": "<img src=x onerror=alert(1)>"},
    "a null byte": {"run": "x\0y"},
    "a hundred kilobytes": {"run": "x" * 100_000, "layer": "y" * 100_000},
    "Markdown": {"run": "[x](javascript:alert(1)) ![](http://127.0.0.1)"},
    "numbers": {"iteration": "-1", "neuron": "99999999999999999999", "value": "nan", "layer": "0"},
    "words for numbers": {"iteration": "first", "neuron": "∞", "value": "1e999", "rule": "best"},
    "empty": {"run": "", "iteration": "", "layer": ""},
    "unknown names": {"x": "1", "__class__": "2", "run[]": "3"}, "lists": {"runs": "~".join(["x"] * 5000)},
    "other letters": {"run": "лауf🙂", "layer": "‮conv1"},
    "a model that is code": {"model": "os:system", "data": "imagefolder:/etc"},
    "formats": {"format": "exe", "order": "{0.__class__}"},
}  # fmt: skip
EVENTS = {
    "nothing in them": {}, "texts for numbers": {"iteration": "0", "accuracy_final": "high", "parameters": "many"},
    "lists for numbers": {"iteration": [0], "accuracy_final": [1, 2], "compression": {}},
    "a negative iteration": {"iteration": -3},
    "numbers beyond": {"iteration": 10**30, "parameters": 10**400, "accuracy_final": 1e308},
    "not numbers": {"iteration": 0, "accuracy_final": float("nan")},
    "widths of text": {"iteration": 0, "widths": "wide", "layers_trimmed": 5},
    "layers of layers": {"iteration": 0, "layers": {"a": {"b": {"c": []}}}},
}  # fmt: skip
KINDS = ("iteration", "profiled", "epoch", "pruned", "started", "note", "weights", "exploded")


def opened(name: str, run: str | None = None, **query: str) -> AppTest:
    app = AppTest.from_file(APP, default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    if run:
        app.query_params["run"] = run
    app.run()
    app.switch_page(f"{name}/page.py").run()
    return app


def said(app: AppTest) -> str:
    """What the page says is wrong; an exception that reached Streamlit is a crash."""
    assert not app.exception, f"the page crashed: {app.exception[0].value}"
    for element in (*app.markdown, *app.caption, *app.error, *app.warning, *app.info):
        assert not getattr(element, "allow_html", False), "markup is carried out"
    told = [element.value for element in (*app.error, *app.warning) if "from other machines" not in element.value]
    return " ".join(told).replace("\n", " ")[:500]


def linked(name: str, query: dict[str, str]):
    def case(inside: Path, marker: Path) -> str:
        fake_run(inside / "runs", {}, [{"conv1": 20, "conv2": 50, "fc1": 500}] * 2, [0.9, 0.8])
        return said(opened(name, **query))

    return case


def with_events(name: str, kind: str, content: dict):
    """A run of somebody else, in which an event of a kind is not what it should be."""

    def case(inside: Path, marker: Path) -> str:
        run_id = fake_run(inside / "runs", {}, [{"conv1": 20, "conv2": 50, "fc1": 500}] * 2, [0.9, 0.8])
        with open(inside / "runs" / run_id / "events.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"seq": 99, "time": 0, "kind": kind, **content}) + "\n")
        logging.disable(logging.CRITICAL)
        try:
            return said(opened(name, run_id))
        finally:
            logging.disable(logging.NOTSET)

    return case


METRICS = {
    "markup": {"name": "<b>x</b><script>alert(1)</script>", "higher_is_better": True, "percent": True},
    "Markdown": {"name": "![x](http://127.0.0.1/x) `$a$`", "higher_is_better": False, "percent": False},
    "a formula": {"name": "=HYPERLINK(1)", "higher_is_better": False, "percent": True},
    "a megabyte": {"name": "x" * 1_000_000, "higher_is_better": True, "percent": False},
    "many lines": {"name": "a\nb\r\nc", "higher_is_better": True, "percent": True},
    "no name": {"name": "", "higher_is_better": True, "percent": True},
    "more fields": {"name": "F1", "higher_is_better": True, "percent": True, "__class__": "x", "digits": 10**9},
}  # fmt: skip


def with_metric(name: str, metric: dict):
    """A run of somebody else with a headline metric of an odd name."""

    def case(inside: Path, marker: Path) -> str:
        run_id = fake_run(inside / "runs", {}, [{"conv1": 20, "conv2": 50, "fc1": 500}] * 2, [0.9, 0.8])
        path = inside / "runs" / run_id / "events.jsonl"
        first = json.dumps({"seq": 0, "time": 0, "kind": "started", "classes": [], "metric": metric})
        path.write_text(first + "\n" + path.read_text().replace("accuracy", "metric"))
        return said(opened(name, run_id))

    return case


CASES = [
    *(Case("link", f"{name}: {what}", linked(name, query), must_refuse=False)
      for name in PAGES for what, query in RUBBISH.items()),
    *(Case("events of others", f"{name}, {kind}: {what}", with_events(name, kind, content), must_refuse=False)
      for place, (kind, (what, content)) in enumerate((kind, event) for kind in KINDS for event in EVENTS.items())
      for name in [("profile", "run", "compare", "report", "plan")[place % 5]]),
    *(Case("events of others", f"{name}, metric: {what}", with_metric(name, metric), must_refuse=False)
      for place, (what, metric) in enumerate(METRICS.items()) for name in ("run", "report", "compare")),
]  # fmt: skip
