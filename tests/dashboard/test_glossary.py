"""The glossary: every number on every page has an explanation, and every image has an alt text."""

import ast
import json
import shutil
from pathlib import Path

import pytest

from dashboard import glossary
from tests.dashboard.fakes import fake_run, real_run
from tests.dashboard.pages import PAGES, page
from trimcore import spec

DASHBOARD = Path(__file__).parents[2] / "dashboard"
CUT = [{"layers": ["conv2"], "rule": "fraction", "value": 0.2}]
UNITS = [{"layers": ["fc1"], "rule": "maxout", "value": 1}, {"layers": ["all"], "rule": "sparsity", "value": 0.5}]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A runs folder with two runs that together have every kind of number: removed neurons; maxout units, zero weights
    and verification. The second run is real."""
    folder = tmp_path_factory.mktemp("glossary")
    widths = [{"conv1": 20, "conv2": 50, "fc1": 500}, {"conv1": 20, "conv2": 40, "fc1": 500}]
    fake_run(folder, {"name": "plain", "step": CUT}, widths, [0.9, 0.8])
    asked = spec.parse({
        "name": "units", "model": "lenet5-maxout", "device": "cpu", "step": UNITS, "verify": {"pairs": "test"},
        "base": {"epochs": 0}, "retrain": {"epochs": 0}, "profile": {"examples": 100, "relevance_examples": 100},
    })  # fmt: skip
    real_run(folder, asked)
    return folder


@pytest.fixture
def runs_there(made, tmp_path, monkeypatch) -> dict[str, str]:
    """A copy of the runs for the pages: model -> run."""
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.setenv("TRIMCORE_RUNS", str(tmp_path / "runs"))
    return {"lenet5-maxout" if "maxout" in path.name else "lenet5": path.name for path in made.glob("2*")}


def columns(table) -> dict[str, str]:
    """Column -> help, as sent to the browser."""
    config = json.loads(table.proto.columns or "{}")
    return {name: (config.get(name) or {}).get("help") or "" for name in table.value.columns}


@pytest.mark.parametrize(("model", "steps"), [("lenet5", CUT), ("lenet5-maxout", UNITS)])
@pytest.mark.parametrize("name", PAGES)
def test_every_number_has_help_and_every_image_has_alt_text(runs_there, name, model, steps):
    draft = spec.parse({"model": model, "step": steps}).model_dump(exclude_none=True)
    app = page(name, run=runs_there[model], draft=draft)
    assert not [metric.label for metric in app.metric if not metric.proto.help]
    assert not [column for table in app.dataframe for column, help in columns(table).items() if not help]
    fields = [*app.number_input, *app.slider]
    assert not [field.label for field in fields if not field.proto.help]
    images = [element.proto for element in (*app.get("plotly_chart"), *app.dataframe)]
    images += [image for element in app.get("image") for image in element.proto.imgs]
    assert images or name == "queue", "every other page shows something"
    assert not [image for image in images if len(image.alt) < 8]


@pytest.mark.parametrize("name", glossary.CONCEPTS)
def test_every_page_explains_its_concept_with_the_formula(runs_there, name):
    app = page(name, run=runs_there["lenet5"])
    _, terms = glossary.CONCEPTS[name]
    text = "\n".join(element.value for element in app.markdown)
    assert all(glossary.TERMS[term].text in text for term in terms)
    shown = [element.value.strip("$\n ") for element in app.get("latex")]
    assert shown == [glossary.TERMS[term].formula for term in terms if glossary.TERMS[term].formula]


def test_apoz_is_defined_as_in_the_paper():
    """Equation 1: the share of zeros over N examples and M positions. It is 1 if all are zero."""
    text, formula = glossary.TERMS["APoZ"]
    assert formula.replace(" ", "").endswith(r"\sum_{j=1}^{M}f\left(O_{c,j}(k)=0\right)")
    assert r"\frac{1}{N M}" in formula
    assert "At 100 %, the neuron is always zero" in text


def test_terms_are_found_in_any_case():
    assert glossary.about("COMPRESSION") == glossary.about("compression")
    text, formula = glossary.TERMS["compression"]
    assert glossary.about("compression") == f"{text} ${formula}$"
    assert glossary.about("no such thing") == ""
    cased = [term.casefold() for term in glossary.TERMS]
    assert len(cased) == len(set(cased)), "terms differ by more than case"


def test_texts_are_complete_and_fit_in_a_tooltip():
    for term, (text, formula) in glossary.TERMS.items():
        assert text[-1] in ".?)", term
        assert len(text) < 340, term
        assert formula.count("{") == formula.count("}"), term
        assert formula.count(r"\left") == formula.count(r"\right"), term


def test_every_term_used_by_the_pages_exists():
    """`about` returns "" for unknown terms, so a typo would go unnoticed."""
    asked = {
        call.args[0].value
        for path in DASHBOARD.rglob("*.py") for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "about"
        and isinstance(call.args[0], ast.Constant)
    }  # fmt: skip
    assert len(asked) > 3
    assert not [term for term in asked if not glossary.about(term)]
    assert not [term for _, terms in glossary.CONCEPTS.values() for term in terms if term not in glossary.TERMS]
