"""A run as one HTML file that needs nothing else: no network, no other file.

    python -m dashboard.htmlreport RUN --out FILE [--runs DIR]

What a person wrote (names, notes, tags, the spec, names of layers and classes) is escaped; the file forbids itself to
load anything. It is made from the run folder alone, without PyTorch.
"""

import argparse
import sys
import tomllib
from html import escape
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from dashboard import charts, lineage, repeating
from dashboard.charts.class_history import class_history
from trimcore import runs, tables
from trimcore.errors import RunError, TrimError
from trimcore.tables import published

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2430; background: #fff; margin: 0 auto; padding: 1rem;
       max-width: 700px; overflow-wrap: anywhere; }
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
Chart = tuple[str, str, go.Figure, str]  # key, question, figure, what it means


def report(folder: Path) -> str:
    """The whole file as text. Raises RunError for a run without a finished iteration, or whose spec is damaged."""
    events, notes = list(runs.read_events(folder)), runs.notes_of(folder)
    if not tables.latest(events, "iteration"):
        raise RunError(f"run {folder.name!r} has no finished iteration to report yet")
    parents = lineage.forest(runs.parents(folder.parent))
    line = [*(run for run, _ in lineage.ancestors(parents, folder.name)), folder.name]
    texts = {run: spec_text(folder.with_name(run)) for run in line}
    specs = [(run, tomllib.loads(text)) for run, text in texts.items()]
    asked = specs[-1][1]
    name = notes.name or str(asked.get("name") or "") or f"{asked.get('model', 'lenet5')}, trimmed"
    parts = [
        f"<h1>{escape(name)}</h1>", _about(folder, asked, events, line), _tags(notes.tags),
        f'<p class="note">{escape(notes.note)}</p>' if notes.note else "",
        "<h2>What is left, and how well does it do? The paper's table</h2>", _table(events), _control(events),
        *[_drawn(chart, folder.name, first=place == 0) for place, chart in enumerate(figures(events, asked))],
        "<h2>How is it repeated?</h2>", f"<pre>{escape(repeating.repeat_line(specs))}</pre>", _versions(events),
        *[f"<h2>{_spec_title(run, folder)}</h2><pre>{escape(text)}</pre>" for run, text in reversed(texts.items())],
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        "<body>" + "\n".join(filter(None, parts)) + "\n</body></html>\n"
    )


def spec_text(folder: Path) -> str:
    """The spec of a run as it is on disk. Raises RunError when it is no TOML any more."""
    try:
        text = (folder / "spec.toml").read_text("utf-8")
        tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise RunError(f"the spec of run {folder.name!r} cannot be read: {error}") from None
    return text


def figures(events: list[dict], asked: dict) -> list[Chart]:
    """Every chart that there is something to say by, in reading order."""
    rows, epochs, layers = tables.iterations(events), tables.epochs(events), tables.history(events)
    trained = epochs[epochs.phase != "control"].assign(accuracy=epochs.validation_accuracy)
    zeros, units, verified = tables.sparsity(events), tables.units(events), tables.verifications(events)
    found: list[Chart] = []

    def tell(key: str, question: str, figure: go.Figure, meaning: str) -> None:
        found.append((key, question, figure, meaning))

    if len(trained):
        into = "maxout" if asked.get("convert", {}).get("to") == "maxout" else "ReLU"
        base = tables.latest(events, "iteration").get(0, {}).get("validation_accuracy")
        start = pd.DataFrame([{"iteration": 0, "label": "base", "accuracy_final": base}])
        tell("accuracy", "Does accuracy recover after each cut?",
             charts.accuracy_curve(trained, pd.concat([start, tables.cuts(events)]), into),
             "Validation accuracy over the epochs. Each line down is a cut; what follows is retraining.")  # fmt: skip
    sparse = tables.has_zero_weights(events)
    size = "compression, non-zero" if sparse else "compression"
    ratio = rows.compression * rows.parameters / rows.nonzero_parameters if sparse else rows.compression
    tell("frontier", "What accuracy is left at which size?",
         charts.frontier(rows.assign(run="this run", compression=ratio), _published(asked), size),
         "Test accuracy of each iteration over the base's parameters divided by those that are left"
         + (" and not zero." if sparse else ".") + " Grey, where there: the paper's rows, as published.")  # fmt: skip
    if len(layers):
        tell("apoz", "Do the layers become busier?", charts.apoz_history(layers),
             "Mean share of zeros (APoZ) of each layer's neurons, over the validation examples.")  # fmt: skip
        tell("widths", "Which layers have paid?", charts.width_history(layers),
             "Neurons of each layer, as a share of those with which this run began.")  # fmt: skip
    classes = tables.class_accuracy(events).query("split == 'test'")
    if classes.iteration.nunique() > 1:
        tell("classes", "Which classes pay for it?", class_history(classes),
             "Points of test accuracy against the base; in each pair left after the cut, right retrained.")  # fmt: skip
    if units.iteration.nunique() > 1:
        tell("relevance", "How much does the weakest neuron of each maxout unit matter?", charts.unit_history(units),
             "How often the weakest neuron is its unit's maximum; 100 % is as often as the others.")  # fmt: skip
    if len(zeros):
        tell("sparsity", "How empty is each layer?", charts.sparsity_history(zeros),
             "The share of each layer's weights that are held at zero.")  # fmt: skip
    if sparse and len(rows) > 1:
        tell("parameters", "What is left to compute with?", charts.parameter_history(rows),
             "All parameters, and those that are not zero. The network computes with the zeros too.")  # fmt: skip
        if rows.bytes_dense.notna().any():
            tell("bytes", "What does the file weigh?", charts.byte_history(rows),
                 "Of a file with every weight, and of one with those that are not zero and the gaps.")  # fmt: skip
    if len(verified):
        tell("verification", "Are two images of the same? Accuracy", charts.verification_history(verified),
             "Pairs told apart by the distance of what the last layer sees; ten folds, standard error.")  # fmt: skip
        curves = tables.rocs(events)
        curves = curves[curves.iteration.isin([0, runs.result_in(events)])]
        if len(curves):
            names = curves.iteration.map(lambda k: "base" if k == 0 else f"iteration {k}")
            tell("roc", "Are two images of the same? How many are found for how many false alarms?",
                 charts.roc(curves.assign(curve=names)), "The nearer to the upper left, the better.")  # fmt: skip
    return found


def _published(asked: dict) -> pd.DataFrame | None:
    rows = published.ON.get((asked.get("model", "lenet5"), asked.get("data", "mnist-5k")), [])
    found = [(name, ratio, final / 100) for name, _, ratio, _, final in rows]
    return pd.DataFrame(found, columns=["label", "compression", "accuracy"]) if found else None


def _drawn(chart: Chart, run_id: str, first: bool) -> str:
    """One figure with its question and its meaning; the first brings plotly.js along for all."""
    key, question, figure, meaning = chart
    config = {"displaylogo": False, "modeBarButtons": [["toImage"]], "responsive": True,
              "toImageButtonOptions": {"filename": f"{run_id}-{key}"}}  # fmt: skip
    alt = figure.layout.meta["alt"]
    drawing = figure.update_layout(**LOOK).to_html(
        full_html=False, include_plotlyjs=first, config=config, div_id=f"chart-{key}"
    )
    return (
        f'<h2>{escape(question)}</h2><figure><div role="img" aria-label="{escape(alt)}">{drawing}</div>'
        f"<figcaption>{escape(meaning)}</figcaption></figure>"
    )


def _about(folder: Path, asked: dict, events: list[dict], line: list[str]) -> str:
    began = f", begun at iteration {asked['parent'].get('iteration', 0)} of {line[-2]}" if len(line) > 1 else ""
    text = f"{asked.get('model', 'lenet5')} on {asked.get('data', 'mnist-5k')}{began}. Run {folder.name}: "
    status = runs.state_of(folder)
    return f'<p class="quiet">{escape(text + ", ".join(filter(None, [status.state, status.reason])))}.</p>'


def _tags(tags: tuple[str, ...]) -> str:
    spans = "".join(f'<span class="tag">{escape(tag)}</span>' for tag in tags)
    return f"<p>{spans}</p>" if tags else ""


def _table(events: list[dict]) -> str:
    table, result = tables.paper_table(events), runs.result_in(events)
    table = table[[*table.columns.drop("configuration"), "configuration"]]  # long: the numbers first
    head = "".join(f"<th{_kind(name)}>{escape(name)}</th>" for name in table)
    body = "".join(
        ('<tr class="result">' if row.iteration == result else "<tr>")
        + "".join(f"<td{_kind(name)}>{escape(_cell(name, row[name]))}</td>" for name in table)
        + "</tr>"
        for _, row in table.iterrows()
    )
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f'<p class="quiet">Accuracy on the test split; initial: after the cut, before retraining. '
        f"The result of the run is iteration {result}.</p>"
    )


def _kind(name: str) -> str:
    return ' class="text"' if name == "configuration" else ""


def _cell(name: str, value) -> str:
    if pd.isna(value):
        return "—"
    if isinstance(value, str):
        return value
    if name.startswith("compression"):
        return f"{value:.2f}×"
    return f"{value:.2f}" if name.endswith("accuracy %") else f"{value:,}"


def _control(events: list[dict]) -> str:
    made = tables.control_row(events)
    return "" if not made else (
        f"<p>The same widths from new weights, {made['epochs']} epochs: test accuracy {made['accuracy']:.2%}.</p>"
    )


def _versions(events: list[dict]) -> str:
    """What the run has recorded of where it ran."""
    started = next((event for event in events if event["kind"] == "started"), {})
    names = {"seed": "Seed", "device": "Device", "torch": "PyTorch", "python": "Python", "trimcore": "trimcore"}
    cells = [f"<dt>{label}</dt><dd>{escape(str(started[key]))}</dd>" for key, label in names.items() if key in started]
    return f"<dl>{''.join(cells)}</dl>"


def _spec_title(run: str, folder: Path) -> str:
    return "What was asked: spec.toml" if run == folder.name else f"What it came from: {escape(run)}.toml"


def main(arguments: list[str] | None = None) -> int:
    """The command line; a mistake is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser("python -m dashboard.htmlreport", description="A run as one HTML file.")
    parser.add_argument("run", help="the id of a run")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--runs", type=Path, help="runs folder (TRIMCORE_RUNS, or runs/)")
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


if __name__ == "__main__":
    sys.exit(main())
