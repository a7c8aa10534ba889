"""The glossary: every number on every page has its explanation, and every picture its words."""

import ast
import json
import shutil
from pathlib import Path

import pytest

from dashboard import glossary
from tests.dashboard.fakes import fake_run, real_run
from tests.dashboard.test_pages import PAGES, page
from trimcore import spec

DASHBOARD = Path(__file__).parents[2] / "dashboard"
CUT = [{"layers": ["conv2"], "rule": "fraction", "value": 0.2}]
UNITS = [{"layers": ["fc1"], "rule": "maxout", "value": 1}, {"layers": ["all"], "rule": "sparsity", "value": 0.5}]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A runs folder with two runs that between them have every kind of number: neurons cut; maxout units, weights at
    zero, verification. The second is real."""
    folder = tmp_path_factory.mktemp("explained")
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
    """A copy of them that the pages look at: model -> run."""
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.setenv("TRIMCORE_RUNS", str(tmp_path / "runs"))
    return {"lenet5-maxout" if "maxout" in path.name else "lenet5": path.name for path in made.glob("2*")}


def columns(table) -> dict[str, str]:
    """Column -> help, as the browser is told."""
    config = json.loads(table.proto.columns or "{}")
    return {name: (config.get(name) or {}).get("help") or "" for name in table.value.columns}


@pytest.mark.parametrize(("model", "steps"), [("lenet5", CUT), ("lenet5-maxout", UNITS)])
@pytest.mark.parametrize("name", PAGES)
def test_every_number_of_a_page_is_explained_and_every_picture_has_words(runs_there, name, model, steps):
    draft = spec.parse({"model": model, "step": steps}).model_dump(exclude_none=True)
    app = page(name, run=runs_there[model], draft=draft)
    assert not [metric.label for metric in app.metric if not metric.proto.help]
    assert not [column for table in app.dataframe for column, help in columns(table).items() if not help]
    fields = [*app.number_input, *app.slider]
    assert not [field.label for field in fields if not field.proto.help]
    pictures = [element.proto for element in (*app.get("plotly_chart"), *app.dataframe)]
    pictures += [picture for element in app.get("image") for picture in element.proto.imgs]
    assert pictures, "each page shows something"
    assert not [picture for picture in pictures if len(picture.alt) < 8]


@pytest.mark.parametrize("name", PAGES)
def test_each_page_explains_its_idea_with_the_formula(runs_there, name):
    app = page(name, run=runs_there["lenet5"])
    _, terms = glossary.IDEAS[name]
    told = "\n".join(element.value for element in app.markdown)
    assert all(glossary.TERMS[term].text in told for term in terms)
    shown = [element.value.strip("$\n ") for element in app.get("latex")]
    assert shown == [glossary.TERMS[term].formula for term in terms if glossary.TERMS[term].formula]


def test_apoz_is_defined_as_in_the_paper():
    """Equation 1: the share of zeros over N examples and M positions; all zero is 1."""
    text, formula = glossary.TERMS["APoZ"]
    assert formula.replace(" ", "").endswith(r"\sum_{j=1}^{M}f\left(O_{c,j}(k)=0\right)")
    assert r"\frac{1}{N M}" in formula
    assert "100 %: always zero" in text


def test_what_is_said_of_a_term():
    assert glossary.about("COMPRESSION") == glossary.about("compression")
    text, formula = glossary.TERMS["compression"]
    assert glossary.about("compression") == f"{text} ${formula}$"
    assert glossary.about("no such thing") == ""
    cased = [term.casefold() for term in glossary.TERMS]
    assert len(cased) == len(set(cased)), "a term would hide another"


def test_texts_are_whole_and_short_enough_for_a_tooltip():
    for term, (text, formula) in glossary.TERMS.items():
        assert text[-1] in ".?)", term
        assert len(text) < 340, term
        assert formula.count("{") == formula.count("}"), term
        assert formula.count(r"\left") == formula.count(r"\right"), term


def test_every_term_that_the_pages_ask_for_by_name_is_there():
    """`about` gives "" for unknown words: a slip of the pen would go unseen."""
    asked = {
        call.args[0].value
        for path in DASHBOARD.rglob("*.py") for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "about"
        and isinstance(call.args[0], ast.Constant)
    }  # fmt: skip
    assert len(asked) > 3
    assert not [term for term in asked if not glossary.about(term)]
    assert not [term for _, terms in glossary.IDEAS.values() for term in terms if term not in glossary.TERMS]
