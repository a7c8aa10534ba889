"""Networks from installed packages: listed by name, loaded on first use, refused in one line if broken."""

import sys
from pathlib import Path

import pytest

from trimcore import models, spec
from trimcore.cli.main import main
from trimcore.errors import SpecError
from trimcore.system import own_code

CODE = """
from pathlib import Path
from torch import nn
Path(__file__).with_name("imported").touch()

def small(num_classes, in_channels):
    "A small network of a package."
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes)) if in_channels == 9 else nn.Linear(3, num_classes)

number = 4
"""


def install(folder: Path, package: str, *entries: str) -> None:
    """Create what pip installs for a package with these entry points."""
    info = folder / f"{package.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    lines = "\n".join(entries)
    (info / "entry_points.txt").write_text(f"[trimcore.models]\n{lines}\n[console_scripts]\nother = a:b\n")


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder on sys.path with the packages nice-nets and rude-nets."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "nice_nets.py").write_text(CODE)
    install(folder, "nice-nets", "nice = nice_nets:small", "gone = nice_nets:missing", "four = nice_nets:number",
            "twice = nice_nets:small")  # fmt: skip
    install(folder, "rude-nets", "lenet5 = rude:lenet", "broken = not_there_at_all:net", "twice = rude:twice")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("nice_nets", None)


def test_plugins_are_listed_after_built_in_models_without_being_loaded(site, monkeypatch, capsys):
    found = models.listed()
    assert list(found)[:2] == ["lenet5", "lenet5-maxout"]
    assert list(found)[len(models.REGISTRY) :] == ["broken", "four", "gone", "nice", "twice"]
    assert found["nice"] == "from the installed package nice-nets"
    monkeypatch.setattr(sys, "argv", ["trimcore", "models"])
    assert main() == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == [*found, "timm:NAME", "hf:FOLDER"]
    assert err == "note: model 'lenet5' of package rude-nets is refused: it is the name of a built-in model\n"
    assert not (site / "imported").exists()


def test_a_plugin_is_loaded_on_use_even_if_code_in_specs_is_forbidden(site, monkeypatch):
    monkeypatch.setenv(own_code.FORBIDDEN, "1")  # an installed package is trusted
    assert spec.parse({"model": "nice"}).model == "nice"
    assert not (site / "imported").exists()
    assert models.build("nice", num_classes=6).out_features == 6
    assert models.architecture("nice").description == "A small network of a package."
    assert (site / "imported").exists()


def test_a_built_in_model_keeps_its_name(site):
    assert type(models.build("lenet5")).__name__ == "LeNet5"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "of package rude-nets from not_there_at_all:net: ModuleNotFoundError"),
        ("gone", "of package nice-nets from nice_nets:missing: AttributeError"),
        ("four", "model 'four' is of type int, not a function that returns a network"),
        ("twice", "is offered by rude-nets and by nice-nets: uninstall one"),
    ],
)
def test_a_broken_plugin_is_refused_in_one_line_on_use(site, name, message):
    with pytest.raises(SpecError) as error:
        models.build(name)
    text = str(error.value).replace("nice-nets and by rude-nets", "rude-nets and by nice-nets")
    assert f"model {name!r}" in text
    assert message in text
    assert len(text.splitlines()) == 1


def test_without_the_package_the_name_is_unknown():
    with pytest.raises(SpecError, match="unknown model 'nice'"):
        models.build("nice")
