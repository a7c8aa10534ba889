"""The report as one HTML file: complete, escaped and self-contained."""

import json
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dashboard.report import html_report
from tests.dashboard.fakes import fake_run
from tests.dashboard.serving import ROOT
from trimcore import runs, spec
from trimcore.errors import RunError

EVIL = "</script><script>alert(1)</script><img src=http://example.org/x.png onerror=alert(2)>&amp;"
WIDTHS = [{"conv1": 20, "conv2": 50, f"fc{EVIL}": width} for width in (500, 386, 215)]
EVERY = ["accuracy", "frontier", "apoz", "widths", "relevance", "sparsity", "parameters", "bytes", "verification",
         "roc"]  # fmt: skip


def enrich(folder: Path) -> None:
    """Add maxout units, zero weights and verification to the events of a made-up run."""
    events = list(runs.read_events(folder))
    for event in list(events):
        number = event.get("iteration")
        if event["kind"] == "started":
            event |= {"classes": [EVIL, "b"], "model": EVIL, "device": f"cpu {EVIL}", "torch": "2.9", "python": "3.11"}
        elif event["kind"] == "profiled":
            counts = [[10 + number, 10 - number]] * 10
            event["units"] = {"conv1": {"k": 2, "examples": 20, "positions": 1, "shares": 1, "counts": counts}}
        elif event["kind"] == "iteration":
            event |= {"nonzero_parameters": event["parameters"] // (1 + number), "bytes_dense": 4 * event["parameters"],
                      "bytes_sparse": 4 * event["parameters"] // (1 + number), "verification": 0.9,
                      "verification_error": 0.01}  # fmt: skip
            events.append({
                "kind": "verified", "iteration": number, "pairs": "test", "distance": "cosine", "layer": EVIL,
                "count": 10, "accuracy": 0.9, "standard_error": 0.01, "auc": 0.95, "roc": [[0, 0], [0.1, 0.9], [1, 1]],
            })  # fmt: skip
    events.append({"kind": "weights", "iteration": 2, "layers": {EVIL: {"weights": 10, "zeros": 7, "threshold": 0.1}}})
    events.append({"kind": "control", "parameters": 5, "epochs": 3, "accuracy": 0.913, "loss": 1})
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")


@pytest.fixture
def folder(runs_folder) -> Path:
    """A run with everything and with malicious names. It branched from iteration 1 of another run."""
    parent = fake_run(runs_folder, {"name": "parent"}, WIDTHS[:1], [0.99])
    made = runs_folder / fake_run(runs_folder, {"name": EVIL[:80]}, WIDTHS, [0.99, 0.98, 0.97])
    asked = spec.load(made / "spec.toml").model_copy(update={"parent": spec.Parent(run=parent, iteration=1)})
    (made / "spec.toml").write_text(spec.dumps(asked) + f"\n# {EVIL}\n", "utf-8")
    enrich(made)
    runs.write_notes(runs_folder, made.name, runs.Notes("", f"first line\n{EVIL}", (EVIL[:40], "tag two")))
    return made


class Page(HTMLParser):
    """The tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self.inside = "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += data


def test_the_file_is_complete_and_loads_nothing(folder):
    text = html_report.report(folder)
    page = Page(text)
    assert not [(tag, key) for tag, values in page.tags for key in values if key in ("src", "href", "srcset", "action")]
    assert "@import" not in text.split("</style>")[0]
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    policy = next(v["content"] for t, v in page.tags if t == "meta" and "http-equiv" in v)
    assert "default-src 'none'" in policy
    charts = [values["id"] for tag, values in page.tags if tag == "div" and values.get("id", "").startswith("chart-")]
    assert charts == [f"chart-{key}" for key in EVERY]
    assert text.count("Plotly.newPlot(") == len(EVERY)
    assert len([1 for tag, v in page.tags if tag == "div" and v.get("role") == "img" and v["aria-label"]]) == len(EVERY)
    assert 3e6 < len(text) < 7e6, "plotly.js once"


def test_the_text_of_the_report(folder):
    text = Page(html_report.report(folder)).text
    for expected in (
        "iteration 1 of", "97.00", "90.00 ± 1.00", "2.00×", "6.00×", "test accuracy of 91.30%", "The result of the run "
        "is iteration 2", "Python", "3.11", "PyTorch", "2.9", "Seed", "tag two", "first line\n", "Zero weights by "
        "layer", f"python -m trimcore branch {spec.load(folder / 'spec.toml').parent.run} --iteration 1 spec.toml",
    ):  # fmt: skip
        assert expected in text, expected


def test_both_specs_are_included_verbatim(folder):
    report = Page(html_report.report(folder)).text
    parent = spec.load(folder / "spec.toml").parent.run
    for run in (folder.name, parent):
        text = (folder.with_name(run) / "spec.toml").read_text("utf-8")
        assert text in report
        assert tomllib.loads(text)


def test_user_input_is_escaped(folder):
    text = html_report.report(folder)
    page = Page(text)
    assert "alert(1)" in page.text, "it is shown as text"
    assert not [tag for tag, _ in page.tags if tag == "img"]
    scripts = [tag for tag, _ in page.tags if tag == "script"]
    assert len(scripts) == text.count("Plotly.newPlot(") + text.count("window.PlotlyConfig =") + 1, "only plotly's"
    assert not [values for _, values in page.tags if any(key.startswith("on") for key in values)]
    assert EVIL not in text
    assert "<script>alert" not in text


def test_a_plain_run_has_only_the_charts_that_apply(runs_folder):
    made = runs_folder / fake_run(runs_folder, {}, [{"conv1": 20, "fc1": 500}, {"conv1": 20, "fc1": 300}], [0.9, 0.8])
    page = Page(html_report.report(made))
    charts = [values["id"] for tag, values in page.tags if values.get("id", "").startswith("chart-")]
    assert charts == ["chart-accuracy", "chart-frontier", "chart-apoz", "chart-widths"]
    assert made.name in page.text, "without a name, the id is shown"
    assert "python -m trimcore run spec.toml" in page.text


def test_the_paper_is_shown_only_for_the_same_network_and_data(runs_folder):
    def labels(data: str) -> list:
        made = runs_folder / fake_run(runs_folder, {"data": data}, [{"conv1": 20}], [0.9])
        figures = html_report.figures(list(runs.read_events(made)), {"model": "lenet5", "data": data})
        frontier = next(figure for key, _, figure, _ in figures if key == "frontier")
        return [trace.name for trace in frontier.data]

    assert "reference" in labels("mnist")
    assert "reference" not in labels("mnist-5k")


def test_the_command_writes_the_file_without_loading_torch(folder, tmp_path):
    out = tmp_path / "report.html"
    code = f"import sys; from dashboard.htmlreport import main; status = main({[folder.name, '--out', str(out)]}); "
    code += "sys.exit(status or ('torch' in sys.modules) or ('streamlit' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{out}\n", "")
    assert out.read_text("utf-8") == html_report.report(folder)


def test_errors_are_one_line(folder, tmp_path, capsys):
    def error(*arguments: str) -> str:
        assert html_report.main([*arguments]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    assert "there is no run 'gone'" in error("gone", "--out", str(tmp_path / "x"))
    assert "cannot write" in error(folder.name, "--out", str(tmp_path / "no" / "x.html"))
    assert "there is no run" in error(folder.name, "--out", str(tmp_path / "x"), "--runs", str(tmp_path))
    (folder / "spec.toml").write_text("= broken")
    assert "cannot read the spec" in error(folder.name, "--out", str(tmp_path / "x"))
    (folder / "events.jsonl").write_text("")
    with pytest.raises(RunError, match="no finished iteration"):
        html_report.report(folder)
    assert not (tmp_path / "x").exists()


@pytest.mark.browser
def test_the_file_opens_offline_and_draws_every_chart(folder, tmp_path, chromium):
    path = tmp_path / "report.html"
    path.write_text(html_report.report(folder), "utf-8")
    context = chromium.new_context(viewport={"width": 420, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    messages, asked = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: (messages.append("dialog"), dialog.dismiss()))
    page.route("**/*", lambda route: route.continue_() if route.request.url == path.as_uri() else (
        asked.append(route.request.url), route.abort()))  # fmt: skip
    page.goto(path.as_uri())
    for key in EVERY:
        page.locator(f"#chart-{key} svg.main-svg").first.wait_for(state="attached")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420, "everything fits on a narrow screen"
    page.emulate_media(media="print")
    assert page.locator(".modebar").first.is_hidden()
    page.emulate_media(media="screen")
    page.locator("#chart-accuracy").hover()
    with page.expect_download() as waiting:
        page.locator("#chart-accuracy .modebar-btn").first.click()
    assert waiting.value.suggested_filename == f"{folder.name}-accuracy.png"
    assert messages == []
    assert asked == []
    context.close()
