"""Networks that installed packages offer, as entry points of the group `trimcore.models`. Loaded when first used."""

import functools
import sys
from importlib.metadata import EntryPoint, entry_points

from trimcore.errors import SpecError, first_line
from trimcore.models import own
from trimcore.models.architecture import Architecture

GROUP = "trimcore.models"


@functools.cache
def _found(path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """Name -> who offers it, for the packages on this path."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found


def offered() -> dict[str, list[EntryPoint]]:
    """Name -> the entry points of that name, in every package that is installed."""
    return _found(tuple(sys.path))


def package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def architecture(name: str) -> Architecture:
    """Load the entry point of that name. Raises SpecError, one line that names the package, where it is broken."""
    entries = offered()[name]
    if len(entries) > 1:
        raise SpecError(f"model {name!r} is offered by {' and by '.join(map(package_of, entries))}: one must go")
    try:
        function = entries[0].load()
    except (Exception, SystemExit) as error:  # somebody else's module may raise anything
        package, value = package_of(entries[0]), entries[0].value
        said = f"{type(error).__name__}: {first_line(error)}"
        raise SpecError(f"model {name!r} of the package {package} cannot be loaded from {value}: {said}") from error
    return own.entry_for(name, function)
