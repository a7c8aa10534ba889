"""A run as one self-contained HTML file: it needs no network connection and no other file.

    python -m dashboard.htmlreport RUN --out FILE [--runs DIR]

User input (names, notes, tags, the spec, names of layers and classes) is escaped. The file's content security policy
forbids it to load anything. It is written from the run folder alone, without PyTorch.
"""

import argparse
import sys
import tomllib
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard import charts
from dashboard.charts.class_history import class_history
from dashboard.report import commands
from dashboard.session import headline, lineage
from trimcore import runs, tables
from trimcore.errors import RunError, TrimError
from trimcore.tables import published

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2430; background: #fff; margin: 0 auto; padding: 1rem;
       max-width: 860px; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 0; } h2 { font-size: 1.15rem; margin: 2rem 0 0.3rem; }
.quiet, figcaption { color: #59616e; font-size: 0.9rem; } .tag { border: 1px solid #b9c1cc; border-radius: 1rem;
       padding: 0 0.6rem; margin-right: 0.3rem; font-size: 0.85rem; white-space: nowrap; }
.note { white-space: pre-wrap; border-left: 3px solid #3b7dd8; padding-left: 0.8rem; margin: 1rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.4rem; text-align: right; border-bottom: 1px solid #dde3ea; overflow-wrap: normal; }
th { font-weight: 600; } th.text, td.text { text-align: left; white-space: nowrap; } tr.result td { font-weight: 600; }
figure { margin: 0; } pre { background: #f4f6f9; padding: 0.7rem; white-space: pre-wrap; font-size: 0.85rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0; } dd { margin: 0; }
@media print { body { padding: 0; max-width: none; font-size: 11pt; } h2 { break-after: avoid; }
       figure, tr, dl { break-inside: avoid; } .modebar { display: none; } .wide { overflow: visible; }
       table { font-size: 7pt; } th, td { padding: 0.15rem 0.25rem; } td.text { white-space: normal; } }
"""
LOOK = dict(template="plotly_white", font=dict(family="system-ui, sans-serif", size=12, color="#1d2430"))
Chart = tuple[str, str, go.Figure, str]  # key, heading, figure, caption


def report(folder: Path, more: str = "") -> str:
    """The file as text, with `more`, which is HTML, after the charts. Raises RunError for a run without a finished
    iteration or with a damaged spec."""
    events, notes = list(runs.read_events(folder)), runs.notes_of(folder)
    if not tables.latest(events, "iteration"):
        raise RunError(f"run {folder.name!r} has no finished iteration yet; wait for the first one")
    parents = lineage.forest(runs.parents(folder.parent))
    line = [*(run for run, _ in lineage.ancestors(parents, folder.name)), folder.name]
    texts = {run: spec_text(folder.with_name(run)) for run in line}
    specs = [(run, tomllib.loads(text)) for run, text in texts.items()]
    asked = specs[-1][1]
    name = notes.name or str(asked.get("name") or "") or f"{asked.get('model', 'lenet5')}, trimmed"
    parts = [
        f"<h1>{escape(name)}</h1>", _about(folder, asked, events, line), _tags(notes.tags),
        f'<p class="note">{escape(notes.note)}</p>' if notes.note else "",
        f"<h2>Size and {escape(tables.metric_of(events).name)} by iteration</h2>", _table(events), _control(events),
        *[_figure(chart, folder.name, first=place == 0) for place, chart in enumerate(figures(events, asked))],
        more, "<h2>How to repeat this run</h2>", f"<pre>{escape(commands.repeat_line(specs))}</pre>", _versions(events),
        *[f"<h2>{_spec_title(run, folder)}</h2><pre>{escape(text)}</pre>" for run, text in reversed(texts.items())],
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        "<body>" + "\n".join(filter(None, parts)) + "\n</body></html>\n"
    )


def spec_text(folder: Path) -> str:
    """The spec of a run as it is on disk. Raises RunError if it is not valid TOML."""
    try:
        text = (folder / "spec.toml").read_text("utf-8")
        tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read the spec of run {folder.name!r}: {error}") from None
    return text


def figures(events: list[dict[str, Any]], asked: dict[str, Any]) -> list[Chart]:
    """The charts that apply to the run, in reading order."""
    rows, epochs, layers = tables.iterations(events), tables.epochs(events), tables.history(events)
    trained = epochs[epochs.phase != "control"].assign(metric=epochs.validation_metric)
    metric = tables.metric_of(events)
    zeros, units, verified = tables.sparsity(events), tables.units(events), tables.verifications(events)
    found: list[Chart] = []

    def add(key: str, heading: str, figure: go.Figure, caption: str) -> None:
        found.append((key, heading, figure, caption))

    if len(trained):
        into = "maxout" if asked.get("convert", {}).get("to") == "maxout" else "ReLU"
        base = tables.value_of(tables.latest(events, "iteration").get(0, {}), "validation_accuracy")
        start = pd.DataFrame([{"iteration": 0, "label": "base", "metric_final": base}])
        add("accuracy", f"Validation {metric.name} by epoch",
            charts.accuracy_curve(trained, pd.concat([start, tables.cuts(events)]), into, metric=metric),
            f"Each vertical {'drop' if metric.higher_is_better else 'rise'} is a cut. Retraining follows.")  # fmt: skip
    sparse = tables.has_zero_weights(events)
    size = "compression, non-zero" if sparse else "compression"
    ratio = rows.compression * rows.parameters / rows.nonzero_parameters if sparse else rows.compression
    published_rows = _published(asked) if metric.is_accuracy else None
    add("frontier", f"Test {metric.name} by compression",
        charts.frontier(rows.assign(run="this run", compression=ratio), published_rows, size, metric=metric),
        f"Test {metric.name} of each iteration. Compression is the number of parameters of the base network divided by "
        f"the number of {'non-zero parameters' if sparse else 'parameters'} of the iteration."
        + ("" if published_rows is None else " Grey: results from the paper, as published."))  # fmt: skip
    if len(layers):
        add("apoz", "Mean APoZ by layer", charts.apoz_history(layers),
            "The average percentage of zeros (APoZ) of each layer's neurons, on the validation examples.")  # fmt: skip
        add("widths", "Width by layer", charts.width_history(layers),
            "The number of neurons in each layer, relative to the start of this run.")  # fmt: skip
    classes = tables.class_accuracy(events).query("split == 'test'")
    if classes.iteration.nunique() > 1:
        add("classes", "Change in accuracy by class", class_history(classes),
            "Change in test accuracy relative to the base, in points. Each iteration has two cells: after the cut "
            "(left) and after retraining (right).")  # fmt: skip
    if units.iteration.nunique() > 1:
        add("relevance", "Relevance of the weakest neuron of each maxout unit", charts.unit_history(units),
            "How often the weakest neuron is the maximum of its unit. At 100 %, it is the maximum as often as the "
            "others.")  # fmt: skip
    if len(zeros):
        add("sparsity", "Zero weights by layer", charts.sparsity_history(zeros),
            "The share of each layer's weights that are set to zero.")  # fmt: skip
    if sparse and len(rows) > 1:
        add("parameters", "Parameters", charts.parameter_history(rows),
            "All parameters, and the non-zero ones. The network still computes with the zeros.")  # fmt: skip
        if rows.bytes_dense.notna().any():
            add("bytes", "File size", charts.byte_history(rows),
                "A dense file with every weight, and a sparse file with only the non-zero weights and the gaps "
                "between them.")  # fmt: skip
    if len(verified):
        add("verification", "Verification accuracy", charts.verification_history(verified),
            "Do two images show the same person or class? They match if the distance between the inputs of the last "
            "layer is below a threshold. The chart shows the mean of ten folds with its standard error.")  # fmt: skip
        curves = tables.rocs(events)
        curves = curves[curves.iteration.isin([0, runs.result_in(events)])]
        if len(curves):
            names = curves.iteration.map(lambda k: "base" if k == 0 else f"iteration {k}")
            add("roc", "Verification: ROC curves", charts.roc(curves.assign(curve=names)),
                "The closer to the upper left corner, the better.")  # fmt: skip
    return found


def _published(asked: dict[str, Any]) -> pd.DataFrame | None:
    rows = published.ON.get((asked.get("model", "lenet5"), asked.get("data", "mnist-5k")), [])
    found = [(name, ratio, final / 100) for name, _, ratio, _, final in rows]
    return pd.DataFrame(found, columns=["label", "compression", "metric"]) if found else None


def _figure(chart: Chart, run_id: str, first: bool) -> str:
    """One figure with its heading and caption. The first one includes plotly.js for all."""
    key, heading, figure, caption = chart
    config = {"displaylogo": False, "modeBarButtons": [["toImage"]], "responsive": True,
              "toImageButtonOptions": {"filename": f"{run_id}-{key}"}}  # fmt: skip
    alt = figure.layout.meta["alt"]
    drawing = figure.update_layout(**LOOK).to_html(
        full_html=False, include_plotlyjs=first, config=config, div_id=f"chart-{key}"
    )
    return (
        f'<h2>{escape(heading)}</h2><figure><div role="img" aria-label="{escape(alt)}">{drawing}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _about(folder: Path, asked: dict[str, Any], events: list[dict[str, Any]], line: list[str]) -> str:
    branch = f", branched from iteration {asked['parent'].get('iteration', 0)} of {line[-2]}" if len(line) > 1 else ""
    text = f"{asked.get('model', 'lenet5')} on {asked.get('data', 'mnist-5k')}{branch}. Run {folder.name}: "
    status = runs.state_of(folder)
    return f'<p class="quiet">{escape(text + ", ".join(filter(None, [status.state, status.reason])))}.</p>'


def _tags(tags: tuple[str, ...]) -> str:
    spans = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in tags)
    return f"<p>{spans}</p>" if tags else ""


def _table(events: list[dict[str, Any]]) -> str:
    table, result = tables.paper_table(events), runs.result_in(events)
    table = table[[*table.columns.drop("configuration"), "configuration"]]  # last, because it may be long
    head = "".join(f"<th{_kind(name)}>{escape(name)}</th>" for name in table.columns)
    body = "".join(
        ('<tr class="result">' if row.iteration == result else "<tr>")
        + "".join(f"<td{_kind(name)}>{escape(_cell(name, row[name]))}</td>" for name in table.columns)
        + "</tr>"
        for _, row in table.iterrows()
    )
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f'<p class="quiet">{escape(headline.table_notes(events))}</p>'
    )


def _kind(name: str) -> str:
    return ' class="text"' if name == "configuration" else ""


def _cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return "—"
    if isinstance(value, str):
        return value
    if name.startswith("compression"):
        return f"{value:.2f}×"
    if name.startswith(("initial ", "final ")):
        return f"{value:.2f}" if name.endswith(" %") else f"{value:.4g}"
    return f"{value:,}"


def _control(events: list[dict[str, Any]]) -> str:
    made, metric = tables.control_row(events), tables.metric_of(events)
    return "" if not made else (
        f"<p>Control: a network with the same widths, trained from scratch for {made['epochs']} epochs, has a test "
        f"{escape(metric.name)} of {metric.text(tables.value_of(made, 'accuracy'))}.</p>"
    )


def _versions(events: list[dict[str, Any]]) -> str:
    """The environment that the run has recorded."""
    started = next((event for event in events if event["kind"] == "started"), {})
    names = {"seed": "Seed", "device": "Device", "torch": "PyTorch", "python": "Python", "trimcore": "trimcore"}
    cells = [f"<dt>{label}</dt><dd>{escape(str(started[key]))}</dd>" for key, label in names.items() if key in started]
    return f"<dl>{''.join(cells)}</dl>"


def _spec_title(run: str, folder: Path) -> str:
    return "Spec: spec.toml" if run == folder.name else f"Spec of an ancestor: {escape(run)}.toml"


def main(arguments: list[str] | None = None) -> int:
    """The command line. An error is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser("python -m dashboard.htmlreport", description="Write a run as one HTML file.")
    parser.add_argument("run", help="id of the run")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--runs", type=Path, help="runs folder (default: TRIMCORE_RUNS, or runs/)")
    given = parser.parse_args(arguments)
    try:
        text = report(runs.open_run(runs.runs_folder(given.runs), given.run))
        given.out.write_text(text, "utf-8")
    except TrimError as error:
        print(f"htmlreport: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"htmlreport: cannot write {str(given.out)!r}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(given.out)
    return 0
