"""The library's documentation is true: its examples run, and every public name is explained and is what it seems."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import trimcore

GUIDE = (Path(trimcore.__file__).parent / "README.md").read_text("utf-8")
MODULES = sorted(module.name for module in pkgutil.walk_packages(trimcore.__path__, "trimcore.")
                 if not module.name.endswith("__main__"))  # fmt: skip


def test_the_examples_of_the_guide_run(monkeypatch, registry):
    torch.manual_seed(0)
    names: dict = {}
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL), 1):
        exec(compile(code, f"trimcore/README.md, example {number}", "exec"), names)


def test_the_guide_has_every_public_name():
    said = set(re.findall(r"\w+", GUIDE))
    assert [name for name in trimcore.__all__ if name not in said] == []


@pytest.mark.parametrize("name", trimcore.__all__)
def test_a_public_name_is_explained_and_no_module(name):
    found = getattr(trimcore, name)
    assert not inspect.ismodule(found), "a module of that name hides it"
    assert len(inspect.getdoc(found)) > 20
    assert not inspect.getdoc(found).startswith(f"{name}("), "a data class without words"


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    assert module.__doc__, "a module says what it is for"
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert not failed
