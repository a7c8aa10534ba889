"""The user's own code: `package.module:name` in a spec, and modules that the person who starts a server names.

A spec from a browser must not import code. What modules given by `use` register stands on the lists like what is built
in: they were named by the person who started the process, not by a spec.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from trimcore.errors import SpecError, first_line

FORBIDDEN = "TRIMCORE_FORBID_IMPORTS"  # environment variable: this process must not import modules that a spec names
USED = "TRIMCORE_USE"  # environment variable: the modules and files to use, for this process and those that it starts

OBJECT = "object:"  # the names of what a program passed as objects start with this
OWN_LOOP = f"{OBJECT}Task"  # the task of a run that a training loop of the user's own recorded
NOUNS = {"model": "network", "data": "data set"}

_imported: set[str] = set()
_registered: dict[str, list[str]] = {}  # what each used module has registered, such as "model 'mine'"
_versions: dict[str, str] = {}  # the checksum of each used module's file
_files: dict[str, str] = {}  # the module of each used file -> the file
_current: list[str] = []  # the module that is being imported


def forbid_imports() -> None:
    """Forbid this process and its children from importing code that a spec names: the dashboard's specs come from a
    browser."""
    os.environ[FORBIDDEN] = "1"


def check_form(kind: str, name: str) -> None:
    """Raise SpecError unless the name has the form `package.module:name`. Imports nothing."""
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in module.split(".")) or not attribute.isidentifier():
        raise SpecError(f"{kind} {name!r} does not have the form package.module:function")


def object_name(name: str) -> str:
    """How a spec names what a program passed as an object: "four numbers" -> "object:four_numbers"."""
    plain = re.sub(r"\W+", "_", name.removeprefix(OBJECT))
    return f"{OBJECT}{'' if plain[:1].isidentifier() else '_'}{plain}"


def check_allowed(kind: str, name: str) -> None:
    """Raise SpecError if this process must not import code that a spec names."""
    if os.environ.get(FORBIDDEN):
        raise SpecError(
            f"{name} is a {NOUNS.get(kind, kind)} of your own, and the dashboard does not import user code: it shows "
            "such runs, but you plan, start and export them on the command line, python -m trimcore. Or start the "
            "dashboard with --use and a module that registers it"
        )


def find(kind: str, name: str) -> Any:
    """What `package.module:name` stands for. Raises SpecError with one line that names both."""
    if name.startswith(OBJECT):
        raise SpecError(f"{kind} {name!r} was passed as an object: resume, export or branch in the program that has it")
    check_form(kind, name)
    check_allowed(kind, name)
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise SpecError(f"{kind} {name!r}: cannot import {module_name}: {describe(error)}") from error
    if not hasattr(module, attribute):
        raise SpecError(f"{kind} {name!r}: module {module_name} has no {attribute!r}")
    return getattr(module, attribute)


def describe(error: BaseException) -> str:
    """An error of the user's code in one line."""
    return f"{type(error).__name__}: {first_line(error)}"


# --- modules to use ---


def use(names: list[str]) -> None:
    """Use these modules or Python files in this process and in those that it starts. They are imported by `load_used`.
    Raises SpecError for a file that does not exist."""
    known = used()
    for name in names:
        if name.endswith(".py") or os.sep in name:
            path = Path(name).expanduser().absolute()
            if not path.is_file():
                raise SpecError(f"--use {name}: there is no such file")
            name = str(path)
        if name not in known:
            known.append(name)
    os.environ[USED] = os.pathsep.join(known)


def used() -> list[str]:
    """The modules and files to use."""
    return [name for name in os.environ.get(USED, "").split(os.pathsep) if name]


def load_used() -> dict[str, list[str]]:
    """Import the modules to use, once. Returns what each has registered.

    Raises SpecError with one line for a module that cannot be imported, or that registers a name twice.
    """
    for name in used():
        if name in _imported:
            continue
        _imported.add(name)  # first, since the module imports this package
        _current.append(name)
        try:
            _versions[name] = _checksum(_import(name))
        except (Exception, SystemExit) as error:  # a user's module may raise anything
            _imported.discard(name)
            _registered.pop(name, None)
            reason = str(error) if isinstance(error, SpecError) else f"cannot import it: {describe(error)}"
            raise SpecError(f"--use {name}: {reason}") from error
        finally:
            _current.pop()
    return _registered


def versions() -> dict[str, str]:
    """The modules that were imported for use -> the SHA-256 checksum of the file of each, so that a run can say which
    version of the code it used."""
    return {name: _versions[name] for name in used() if name in _versions}


def _checksum(module: ModuleType) -> str:
    return hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest() if module.__file__ else ""


def _import(name: str) -> ModuleType:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    other = _files.get(path.stem)
    known = path.stem in sys.stdlib_module_names or (path.stem in sys.modules and other is None)
    if known or (other not in (None, name) and other in used()):
        raise SpecError(f"a module {path.stem!r} exists already: rename the file")
    assert spec is not None  # it is a Python file
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _files[path.stem] = name
    sys.modules[path.stem] = module  # so that its classes can be pickled
    beside = str(path.parent)
    sys.path = [beside, *sys.path]  # a new list, because other threads may be going through the old one in an import
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem], _files[path.stem]
        raise
    finally:
        sys.path = [folder for folder in sys.path if folder is not beside]  # what the code itself added stays
    return module


def note_registered(kind: str, name: str) -> None:
    """Note what the module that is being imported registers. Raises SpecError for a name that is already registered by
    a module in use."""
    if not _current:
        return
    entry = f"{kind} {name!r}"
    for module, entries in _registered.items():
        if entry in entries:
            where = "it twice" if module == _current[-1] else f"it, and so does {module}"
            raise SpecError(f"{entry} is already registered: this module registers {where}")
    _registered.setdefault(_current[-1], []).append(entry)
