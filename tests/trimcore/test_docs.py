"""The library's documentation is true: examples run, tables are complete, and every public name is explained."""

import doctest
import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest
import torch
from pydantic import BaseModel

import trimcore
from trimcore import data, models, spec, tables
from trimcore.cli.main import COMMANDS
from trimcore.evaluation import changes, corruptions
from trimcore.files.export import FORMATS
from trimcore.models import plugins, torchvision
from trimcore.spec import CriterionName, RuleName, presets
from trimcore.spec.training import Augmentation
from trimcore.system import own_code

ROOT = Path(trimcore.__file__).parent
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in sorted(ROOT.rglob("*.md"))}
GUIDE = PAGES["README.md"]
MODULES = sorted(module.name for module in pkgutil.walk_packages(trimcore.__path__, "trimcore.")
                 if not module.name.endswith("__main__"))  # fmt: skip


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def quoted(page: str) -> set[str]:
    """The words on a page that are set as code, inline or in blocks."""
    fences = re.findall(r"```.*?```", PAGES[page], re.DOTALL)
    text = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    return set(re.findall(r"[\w+-]+", " ".join([*fences, *re.findall(r"`([^`]+)`", text)])))


def first_column(section: str) -> list[str]:
    """The code spans in the first column of a section's table."""
    return re.findall(r"^\| `([^`]*)` \|", section, re.MULTILINE)


# ---- examples


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_the_examples_of_a_page_run(page, registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    torch.manual_seed(0)
    names: dict = {}
    for number, code in enumerate(blocks(page, "python"), 1):
        exec(compile(code, f"trimcore/{page}, example {number}", "exec"), names)


def test_the_example_of_your_own_network_can_be_trimmed(tmp_path, monkeypatch, registry):
    (code,) = blocks("models/README.md", "python")
    (tmp_path / "nets_of_the_page.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(own_code.FORBIDDEN, "")  # as on the command line, even if a page ran in this process
    for name in ("nets_of_the_page:tiny", "tiny"):  # the name in a spec, and the registered name
        network = trimcore.build(name, num_classes=3)
        assert trimcore.trace(network, torch.zeros(1, 3, 32, 32)).trimmable() == ["0", "3"]


def test_the_entry_point_has_the_right_group():
    (text,) = blocks("models/README.md", "toml pyproject")
    assert list(tomllib.loads(text)["project"]["entry-points"]) == [plugins.GROUP]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    assert module.__doc__, "a module says what it is for"
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert not failed


# ---- public names


def test_the_guide_has_every_public_name():
    said = set(re.findall(r"\w+", GUIDE))
    assert [name for name in trimcore.__all__ if name not in said] == []


@pytest.mark.parametrize("name", trimcore.__all__)
def test_a_public_name_is_explained_and_no_module(name):
    found = getattr(trimcore, name)
    assert not inspect.ismodule(found), "a module of that name hides it"
    assert len(inspect.getdoc(found)) > 20
    assert not inspect.getdoc(found).startswith(f"{name}("), "a data class without words"


# ---- the spec


def sections(model: type[BaseModel] = spec.Spec) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section of a spec by its key, including those of a step."""
    for key, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield key, kind
                yield from sections(kind)


def test_the_spec_passes_and_shows_every_section():
    text = blocks("spec/README.md", "toml")[0]
    parsed = spec.loads(text)
    assert parsed.step[0].rule_for("fc1").value == 252
    assert parsed.retrain_after(parsed.step[0]).epochs == 60
    assert parsed.step[1].weights
    shown = {key for key, _ in sections()} - {"parent", "layer", "sweep", "target"}  # for several runs, shown elsewhere
    assert {"base", "convert", "profile", "retrain", "step", "verify", "stop", "control"} <= shown
    assert set(tomllib.loads(text)) >= shown


def test_every_key_of_the_spec_is_explained():
    keys = {*spec.Spec.model_fields, *(key for _, section in sections() for key in section.model_fields)}
    assert keys - quoted("spec/README.md") == set()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_every_spec_on_a_page_passes(page):
    for text in blocks(page, "toml"):
        spec.loads(text)


@pytest.mark.parametrize("heading", ["### Rules", "### Criteria", "## Training", "## Presets"])
def test_a_table_of_the_spec_has_every_name(heading):
    known = {
        "### Rules": get_args(RuleName), "### Criteria": get_args(CriterionName),
        "## Training": get_args(Augmentation), "## Presets": presets.names(),
    }[heading]  # fmt: skip
    level = heading.split()[0]
    section = re.split(rf"^{level} ", PAGES["spec/README.md"].split(f"\n{heading}")[1], flags=re.MULTILINE)[0]
    cells = re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE)
    found = set(re.findall(r"`([^`]*)`", " ".join(cells)))
    assert set(known) - found == set()


# ---- lists


@pytest.mark.parametrize("name", ["iterations", "layers", "neurons", "classes", "sweep"])
def test_the_columns_are_those_of_the_files(name):
    section = PAGES["tables/README.md"].split(f"## `{name}.csv`")[1].split("\n## ")[0]
    assert first_column(section) == getattr(tables, name.upper())


def test_every_csv_has_a_section():
    files = re.findall(r"^## `(.*)`$", PAGES["tables/README.md"], re.MULTILINE)
    assert files == ["iterations.csv", "layers.csv", "neurons.csv", "classes.csv", "sweep.csv"]


@pytest.mark.parametrize(("name", "columns"), [
    ("changes.csv", ["image", "file", *changes.COLUMNS[1:]]), ("corruptions.csv", corruptions.COLUMNS),
])  # fmt: skip
def test_the_columns_of_changes_are_those_of_the_files(name, columns):
    section = PAGES["cli/README.md"].split(f"`{name}` has ")[1].split("\n\n`")[0].split("\n### ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    assert [name for cell in cells for name in re.findall(r"`([^`]*)`", cell)] == columns


@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_every_command_and_option_is_explained(command: click.Command):
    page = PAGES["cli/README.md"]
    synopsis = re.search(r"```\n(.*?)```", page, re.DOTALL).group(1)
    assert re.search(rf"(?:trimcore|\|) {command.name}\b", synopsis)
    assert re.search(rf"^### .*\b{command.name}\b", page, re.MULTILINE)
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert options - quoted("cli/README.md") == set()


def test_every_format_of_an_export_is_explained():
    section = PAGES["cli/README.md"].split("### export")[1].split("### ")[0]
    assert set(FORMATS) - set(re.findall(r"^\| `([\w-]+)`", section, re.MULTILINE)) == set()


def test_every_data_set_is_listed():
    assert first_column(PAGES["data/README.md"].split("\n## ")[0]) == list(data.datasets())


def test_every_network_of_our_own_is_listed():
    ours = set(models.registry.BUILT_IN) - set(torchvision.entries())
    assert len(ours) > 4
    assert ours - quoted("models/README.md") == set()
