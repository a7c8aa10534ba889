"""Modules that the person who starts the program names, and what they register."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trimcore.errors import SpecError
from trimcore.system import own_code

NETS = """
import trimcore as tc
from torch import nn

@tc.register("{name}", "a network of mine")
def net(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))
"""


@pytest.fixture
def fresh(monkeypatch):
    """No module is in use, and what a test uses is forgotten."""
    monkeypatch.setenv(own_code.USED, "")
    monkeypatch.setattr(own_code, "_imported", set())
    monkeypatch.setattr(own_code, "_registered", {})


def written(folder: Path, text: str, name: str = "my_own_code.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.usefixtures("fresh", "registry")
def test_what_a_file_registers_is_listed(tmp_path):
    from trimcore import models

    path = written(tmp_path, NETS.format(name="net-of-mine"))
    own_code.use([str(path)])
    assert own_code.used() == [str(path)]
    assert models.listed()["net-of-mine"] == "a network of mine"
    assert own_code.load_used() == {str(path): ["model 'net-of-mine'"]}
    assert own_code.versions() == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}
    models.check_name("net-of-mine")


@pytest.mark.usefixtures("fresh", "registry")
def test_a_module_is_found_by_its_name_and_imports_its_neighbours(tmp_path, monkeypatch):
    written(tmp_path, "NAME = 'from-a-neighbour'\n", "neighbour_of_mine.py")
    path = written(tmp_path, "from neighbour_of_mine import NAME\n" + NETS.format(name="x").replace('"x"', "NAME"))
    own_code.use([str(path)])
    assert own_code.load_used() == {str(path): ["model 'from-a-neighbour'"]}
    written(tmp_path, NETS.format(name="by-name"), "module_of_mine.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    own_code.use(["module_of_mine"])
    assert own_code.load_used()["module_of_mine"] == ["model 'by-name'"]


@pytest.mark.usefixtures("fresh", "registry")
@pytest.mark.parametrize(("text", "message"), [
    ("raise OSError('no licence\\nserver')", "cannot import it: OSError: no licence"),
    ("import no_such_package_anywhere", "cannot import it: ModuleNotFoundError"),
    ("import sys; sys.exit(3)", "cannot import it: SystemExit: 3"),
    ("def f(:", "cannot import it: SyntaxError"),
    (NETS.format(name="twice") * 2, "model 'twice' is already registered: this module registers it twice"),
    (NETS.format(name="lenet5"), "'lenet5' is the name of a built-in model"),
])  # fmt: skip
def test_a_file_that_fails_is_named_in_one_line(tmp_path, text, message):
    path = written(tmp_path, text)
    own_code.use([str(path)])
    for _ in range(2):  # and again, when it is asked for again
        with pytest.raises(SpecError) as error:
            own_code.load_used()
        assert str(error.value).startswith(f"--use {path}: ")
        assert message in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.usefixtures("fresh", "registry")
def test_two_files_must_not_register_one_name(tmp_path):
    one, two = (written(tmp_path, NETS.format(name="same"), f"{name}_of_mine.py") for name in ("one", "two"))
    own_code.use([str(one), str(two)])
    with pytest.raises(SpecError, match=f"this module registers it, and so does {one}"):
        own_code.load_used()


@pytest.mark.usefixtures("fresh")
def test_imports_that_are_under_way_find_the_same_folders(tmp_path, monkeypatch):
    """Another thread may be going through `sys.path`; and what the code adds to it stays there."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before, entries = list(sys.path), iter(sys.path)
    first = next(entries)
    own_code.use([str(written(tmp_path, "import sys\nsys.path.append('/added')\n"))])
    own_code.load_used()
    assert [first, *entries] == before
    assert sys.path == [*before, "/added"]


@pytest.mark.usefixtures("fresh")
def test_a_missing_file_is_refused_at_once():
    with pytest.raises(SpecError, match="there is no such file"):
        own_code.use(["nowhere.py"])


@pytest.mark.usefixtures("fresh")
def test_processes_that_are_started_use_the_same_code(tmp_path):
    path = written(tmp_path, NETS.format(name="in-a-child"))
    own_code.use([str(path)])
    program = "from trimcore import models; print(models.listed()['in-a-child'])"
    run = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "a network of mine"


@pytest.mark.usefixtures("fresh")
def test_a_name_in_a_spec_imports_nothing_where_that_is_forbidden(tmp_path, monkeypatch):
    written(tmp_path, "raise AssertionError('imported')", "forbidden_code.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(own_code.FORBIDDEN, "1")
    for kind in ("model", "data", "task"):
        with pytest.raises(SpecError, match="does not import user code"):
            own_code.find(kind, "forbidden_code:thing")


@pytest.mark.usefixtures("fresh", "registry")
@pytest.mark.parametrize("name", ["random.py", "trimcore.py", "pytest.py"])
def test_a_file_must_not_replace_another_module(tmp_path, name):
    before = sys.modules.get(name[:-3])
    own_code.use([str(written(tmp_path, "", name))])
    with pytest.raises(SpecError, match="exists already: rename the file"):
        own_code.load_used()
    assert sys.modules.get(name[:-3]) is before
